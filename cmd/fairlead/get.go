package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
)

func newGetCommand(term *terminal) *cobra.Command {
	var (
		flags   objectFlags
		options object.GetOptions
		output  string
	)
	cmd := &cobra.Command{
		Use:   "get TYPE [NAME...] | TYPE/NAME...",
		Short: "Show objects of any kind",
		Long: "Get shows objects as the API prints them. TYPE is a kind by its plural, singular or short name, several\n" +
			"with commas between, or a category such as knative.",
		Example: "  fairlead get ksvc\n  fairlead get ksvc hello -o yaml\n  fairlead get revisions -l serving.knative.dev/service=hello -w\n  fairlead get knative -A",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if options.Format, err = object.ParseFormat(output); err != nil {
				return asUsage(err)
			}
			options.Selection = flags.selection()
			options.Watch = options.Watch || options.WatchOnly
			c, err := flags.objects(cmd, term)
			if err != nil {
				return err
			}
			targets, err := c.Resolve(args)
			if err != nil {
				return asUsage(err)
			}
			err = asUsage(c.Get(cmd.Context(), targets, options, term.out))
			if options.Watch {
				return endedBy(cmd.Context(), err)
			}
			return err
		},
	}
	flags.addSelection(cmd.Flags())
	cmd.ValidArgsFunction = completeObjects(&flags)
	cmd.Flags().StringVarP(&output, "output", "o", "", strings.Join(object.Formats(), ", "))
	cmd.Flags().BoolVar(&options.NoHeaders, "no-headers", false, "leave out the line with the names of the columns")
	cmd.Flags().BoolVarP(&options.Watch, "watch", "w", false, "go on showing changes")
	cmd.Flags().BoolVar(&options.WatchOnly, "watch-only", false, "show changes only, not what is there already")
	return cmd
}
