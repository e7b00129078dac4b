package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

func newConfigCommand(term *terminal) *cobra.Command {
	settings := daemon.NewSettings()
	var output *outputFormat
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings in force and where each comes from",
		Long: "Every setting is a flag of `fairlead serve`, an environment variable FAIRLEAD_<NAME> and a key of the\n" +
			"configuration file; the first of these that is given wins. A variable that is empty is not given.",
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Resolve(cmd.Flags()); err != nil {
				return usageError{err}
			}
			switch output.value {
			case "":
				w := tabwriter.NewWriter(term.out, 0, 8, 2, ' ', 0)
				fmt.Fprintln(w, "SETTING\tVALUE\tFROM")
				for _, s := range settings.InForce() {
					fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, s.Value, s.From)
				}
				return w.Flush()
			}
			return output.print(term.out, settings.InForce())
		},
	}
	settings.AddFlags(cmd.Flags())
	output = addOutputFlag(cmd, "json", "yaml")
	return cmd
}
