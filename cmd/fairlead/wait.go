package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
)

func newWaitCommand(term *terminal) *cobra.Command {
	var (
		flags    objectFlags
		files    filenameFlag
		options  object.WaitOptions
		expected string
	)
	cmd := &cobra.Command{
		Use:     "wait TYPE [NAME...] | TYPE/NAME... --for=EXPECTATION",
		Short:   "Wait until objects are as expected",
		Example: "  fairlead wait ksvc hello --for=condition=Ready --timeout=60s\n  fairlead wait ksvc hello --for=delete\n  fairlead wait pod x --for=jsonpath='{.status.phase}'=Running",
		RunE: func(cmd *cobra.Command, args []string) error {
			if expected == "" {
				return withTry(usagef("wait for what?"), "--for=condition=Ready")
			}
			var err error
			if options.For, err = object.ParseExpectation(expected); err != nil {
				return asUsage(err)
			}
			if len(files.paths) > 0 && len(args) > 0 {
				return withTry(usagef("either names or manifests, not both"), "fairlead wait -f FILE --for=%s", expected)
			}
			if err := positive("timeout", options.Timeout); err != nil {
				return err
			}
			options.Selection = flags.selection()
			c, err := flags.objects(cmd, term)
			if err != nil {
				return err
			}
			targets, err := waitTargets(cmd.Context(), c, args, &files, term)
			if err != nil {
				return asUsage(err)
			}
			return asUsage(c.Wait(cmd.Context(), targets, options, term.out))
		},
	}
	flags.addSelection(cmd.Flags())
	cmd.ValidArgsFunction = completeObjects(&flags)
	files.addTo(cmd)
	cmd.Flags().StringVar(&expected, "for", "", "delete, create, condition=NAME[=VALUE] or jsonpath=EXPRESSION[=VALUE]")
	cmd.Flags().DurationVar(&options.Timeout, "timeout", 30*time.Second, "how long to wait; 0 looks once")
	return cmd
}

func waitTargets(ctx context.Context, c *object.Client, args []string, files *filenameFlag, term *terminal) ([]object.Target, error) {
	if len(files.paths) == 0 {
		return c.Resolve(args)
	}
	manifests, err := files.manifests(ctx, term)
	if err != nil {
		return nil, err
	}
	return c.Targets(manifests)
}
