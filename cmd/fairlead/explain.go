package main

import (
	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
)

func newExplainCommand(term *terminal) *cobra.Command {
	var (
		flags   clientFlags
		options object.ExplainOptions
	)
	cmd := &cobra.Command{
		Use:     "explain TYPE[.FIELD...]",
		Short:   "Say what the fields of a kind mean",
		Example: "  fairlead explain ksvc\n  fairlead explain ksvc.spec.template.spec.containerConcurrency",
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := (&objectFlags{clientFlags: flags}).objects(cmd, term)
			if err != nil {
				return err
			}
			return asUsage(c.Explain(args[0], options, term.out))
		},
	}
	flags.addTo(cmd.Flags())
	cmd.Flags().StringVar(&options.APIVersion, "api-version", "", "group and version, as in serving.knative.dev/v1")
	cmd.Flags().BoolVar(&options.Recursive, "recursive", false, "show the fields of the fields, without descriptions")
	return cmd
}
