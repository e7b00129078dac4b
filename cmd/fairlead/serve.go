package main

import (
	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

func newServeCommand(term *terminal) *cobra.Command {
	settings := daemon.NewSettings()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: API, registry, gateway and controller",
		Long: "Serve runs Fairlead in the foreground until it is interrupted. The first SIGINT or SIGTERM drains\n" +
			"what is in flight, a second one stops at once.",
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Resolve(cmd.Flags()); err != nil {
				return usageError{err}
			}
			if err := daemon.EnterUsers(settings); err != nil {
				return err
			}
			d, err := daemon.New(daemon.Config{Settings: settings, LogOutput: term.err})
			if err != nil {
				return err
			}
			return d.Run(cmd.Context(), func() {
				term.note("fairlead: ready, kubeconfig %s", d.Kubeconfig())
			})
		},
	}
	settings.AddFlags(cmd.Flags())
	return cmd
}
