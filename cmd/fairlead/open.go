package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	"knative.dev/pkg/apis"
)

func newOpenCommand(term *terminal) *cobra.Command {
	var (
		target clientFlags
		tag    string
	)
	cmd := &cobra.Command{
		Use:   "open SERVICE",
		Short: "Print the URL of a service and open it in the browser",
		Long: "Open prints the URL of a service, with the port on which the gateway really listens. Where there is a\n" +
			"display and output goes to a terminal, it opens the URL with xdg-open too.",
		Args: exactArgs(1),
	}
	target.addTo(cmd.Flags())
	cmd.Flags().StringVar(&tag, "tag", "", "the URL of this tag")
	cmd.ValidArgsFunction = serviceNames(&target)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := target.dial(cmd)
		if err != nil {
			return err
		}
		service, err := c.getService(cmd.Context(), target.namespace, args[0])
		if err != nil {
			return err
		}
		info, err := readInfo(cmd.Context(), c.kube)
		if err != nil {
			return err
		}
		u := service.Status.URL
		if tag != "" {
			u = nil
			for _, t := range service.Status.Traffic {
				if t.Tag == tag {
					u = t.URL
				}
			}
		}
		return openURL(cmd.Context(), term, args[0], tag, u, info.Gateway)
	}
	return cmd
}

func openURL(ctx context.Context, term *terminal, service, tag string, u *apis.URL, gateway string) error {
	if u == nil && tag != "" {
		return withTry(fmt.Errorf("service %s has no tag %s", service, tag), "fairlead traffic %s", service)
	}
	if u == nil {
		return withTry(fmt.Errorf("service %s has no URL yet", service), "fairlead describe ksvc %s", service)
	}
	shown := publicURL(u, gateway)
	fmt.Fprintln(term.out, shown)
	if !term.interactive() || os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return nil
	}
	opener, err := exec.LookPath("xdg-open")
	if errors.Is(err, exec.ErrNotFound) {
		term.note("There is a display but no xdg-open to open the URL with.")
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the browser: %w", err)
	}
	browser := exec.CommandContext(ctx, opener, shown)
	if err := browser.Run(); err != nil {
		return fmt.Errorf("open the browser: xdg-open %s: %w", shown, err)
	}
	return nil
}
