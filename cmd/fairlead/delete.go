package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
)

func newDeleteCommand(term *terminal) *cobra.Command {
	var (
		flags   objectFlags
		files   filenameFlag
		options object.DeleteOptions
		dry     string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:     "delete TYPE NAME... | TYPE/NAME... | SERVICE... | -f FILE",
		Short:   "Delete objects",
		Long:    "Delete deletes objects and what belongs to them, and waits until they are gone.",
		Example: "  fairlead delete ksvc hello\n  fairlead delete -f service.yaml --ignore-not-found\n  fairlead delete ksvc --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if options.DryRun, err = dryRun(dry); err != nil {
				return err
			}
			if err := positive("timeout", timeout); err != nil {
				return err
			}
			if len(files.paths) > 0 && len(args) > 0 {
				return withTry(usagef("either names or manifests, not both"), "fairlead delete -f FILE")
			}
			if len(files.paths) > 0 && (options.Everything || flags.all || flags.labels != "" || flags.fields != "") {
				return withTry(usagef("manifests name the objects: --all, --all-namespaces and selectors say something else"), "fairlead delete -f FILE")
			}
			if len(files.paths) == 0 && len(args) == 0 && cmd.Args == nil {
				return withTry(usagef("delete what?"), "fairlead delete SERVICE, or -f FILE")
			}
			options.Selection = flags.selection()
			options.Wait = options.Wait && (timeout > 0 || !cmd.Flags().Changed("timeout"))
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return asUsage(runDelete(ctx, cmd, term, deletion{flags: &flags, files: &files, options: options, args: args}))
		},
	}
	flags.addSelection(cmd.Flags())
	cmd.ValidArgsFunction = completeObjects(&flags)
	files.addTo(cmd)
	dryRunFlag(cmd.Flags(), &dry)
	cmd.Flags().StringVar(&options.Cascade, "cascade", "background", "what becomes of the objects that belong to a deleted one: background, foreground, orphan")
	cmd.Flags().BoolVar(&options.Everything, "all", false, "every object of the kind in the namespace")
	cmd.Flags().BoolVar(&options.IgnoreNotFound, "ignore-not-found", false, "take an object that is not there as deleted")
	cmd.Flags().BoolVar(&options.Wait, "wait", true, "wait until the objects are gone")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait; 0 does not wait (default: as long as it takes)")
	return cmd
}

// deletion is one command line of delete.
type deletion struct {
	flags   *objectFlags
	files   *filenameFlag
	options object.DeleteOptions
	args    []string
}

func runDelete(ctx context.Context, cmd *cobra.Command, term *terminal, d deletion) error {
	var manifests []object.Manifest
	if len(d.files.paths) > 0 {
		var err error
		if manifests, err = d.files.manifests(ctx, term); err != nil {
			return err
		}
	}
	c, err := d.flags.objects(cmd, term)
	if err != nil {
		return err
	}
	if len(d.files.paths) > 0 {
		return c.DeleteManifests(ctx, manifests, d.options, term.out)
	}
	targets, err := d.flags.targets(cmd, c, d.args)
	if err != nil {
		return err
	}
	return c.Delete(ctx, targets, d.options, term.out)
}
