package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
)

func newDescribeCommand(term *terminal) *cobra.Command {
	var (
		flags  objectFlags
		output *outputFormat
	)
	cmd := &cobra.Command{
		Use:   "describe TYPE [NAME...] | TYPE/NAME... | SERVICE...",
		Short: "Show everything about objects, with their conditions and events",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := flags.objects(cmd, term)
			if err != nil {
				return err
			}
			targets, err := flags.targets(cmd, c, args)
			if err != nil {
				return asUsage(err)
			}
			if output.value != "" {
				format, err := object.ParseFormat(output.value)
				if err != nil {
					return asUsage(err)
				}
				return asUsage(c.Get(cmd.Context(), targets, object.GetOptions{Selection: flags.selection(), Format: format}, term.out))
			}
			return asUsage(c.Describe(cmd.Context(), targets, flags.selection(), time.Now(), term.out))
		},
	}
	flags.addSelection(cmd.Flags())
	output = addOutputFlag(cmd, "json", "yaml")
	cmd.ValidArgsFunction = completeObjects(&flags)
	return cmd
}
