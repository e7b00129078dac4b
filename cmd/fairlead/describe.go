package main

import (
	"time"

	"github.com/spf13/cobra"
)

func newDescribeCommand(term *terminal) *cobra.Command {
	var flags objectFlags
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
			return c.Describe(cmd.Context(), targets, flags.selection(), time.Now(), term.out)
		},
	}
	flags.addSelection(cmd.Flags())
	cmd.ValidArgsFunction = completeObjects(&flags)
	return cmd
}
