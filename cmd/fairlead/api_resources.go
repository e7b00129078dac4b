package main

import (
	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
)

func newAPIResourcesCommand(term *terminal) *cobra.Command {
	var (
		flags      clientFlags
		options    object.KindsOptions
		group      string
		namespaced bool
		output     string
	)
	cmd := &cobra.Command{
		Use:   "api-resources",
		Short: "List the kinds the API has",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "wide" && output != "name" {
				return withTry(usagef("-o %q is not one of wide, name", output), "-o wide")
			}
			var err error
			if options.Format, err = object.ParseFormat(output); err != nil {
				return asUsage(err)
			}
			if cmd.Flags().Changed("api-group") {
				options.Group = &group
			}
			if cmd.Flags().Changed("namespaced") {
				options.Namespaced = &namespaced
			}
			c, err := (&objectFlags{clientFlags: flags}).objects(cmd, term)
			if err != nil {
				return err
			}
			return c.ListKinds(options, term.out)
		},
	}
	flags.addTo(cmd.Flags())
	cmd.Flags().StringVar(&group, "api-group", "", "only kinds of this API group; empty is the core group")
	cmd.Flags().StringVar(&options.Category, "category", "", "only kinds of this category")
	cmd.Flags().BoolVar(&namespaced, "namespaced", true, "only kinds with namespaces, or with =false without")
	cmd.Flags().BoolVar(&options.NoHeaders, "no-headers", false, "leave out the line with the names of the columns")
	cmd.Flags().StringVarP(&output, "output", "o", "", "wide, name")
	return cmd
}
