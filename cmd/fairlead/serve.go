package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

func newServeCommand(term *terminal) *cobra.Command {
	settings := daemon.NewSettings()
	takeover := false
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: API, registry, gateway and controller",
		Long: "Serve runs Fairlead in the foreground until it is interrupted. The first SIGINT or SIGTERM drains\n" +
			"what is in flight, a second one stops at once.\n\n" +
			"With --keep-instances a stop leaves the instances running and the ports open, for --hold-ports: requests\n" +
			"wait there for the next daemon. --takeover replaces a running daemon that way. Without either, a stop\n" +
			"ends the instances and closes the ports at once.",
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Resolve(cmd.Flags()); err != nil {
				return usageError{err}
			}
			if err := daemon.EnterUsers(settings); err != nil {
				return err
			}
			succeeded := make(chan os.Signal, 1)
			signal.Notify(succeeded, daemon.SuccessionSignal)
			defer signal.Stop(succeeded)
			d, err := daemon.New(daemon.Config{Settings: settings, Takeover: takeover, LogOutput: term.err})
			if err != nil {
				return err
			}
			ctx, leave := context.WithCancel(cmd.Context())
			defer leave()
			go func() {
				select {
				case <-succeeded:
					term.note("fairlead: another daemon takes over")
					d.Bequeath()
					leave()
				case <-ctx.Done():
				}
			}()
			return d.Run(ctx, func() {
				term.note("fairlead: ready, kubeconfig %s", d.Kubeconfig())
			})
		},
	}
	settings.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&takeover, "takeover", false, "take instances and ports over from the daemon that uses the home folder now, which then ends")
	return cmd
}
