package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

func newDoctorCommand(term *terminal) *cobra.Command {
	settings := daemon.NewSettings()
	var output *outputFormat
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this machine has what Fairlead needs",
		Long: "Doctor checks kernel, cgroups, runtimes, network, user namespaces, disk and ports. Each finding that is\n" +
			"not ok says what to try. Exit code 0: Fairlead can run here, perhaps with warnings; 1: it cannot.",
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Resolve(cmd.Flags()); err != nil {
				return usageError{err}
			}
			findings := daemon.Doctor(cmd.Context(), settings)
			if output.value == "" {
				printFindings(term, findings)
			} else if err := output.print(term.out, findings); err != nil {
				return err
			}
			for _, f := range findings {
				if f.Verdict == daemon.VerdictProblem {
					return exitStatus(exitFailed)
				}
			}
			return nil
		},
	}
	settings.AddFlags(cmd.Flags())
	output = addOutputFlag(cmd, "json", "yaml")
	return cmd
}

func printFindings(term *terminal, findings []daemon.Finding) {
	for _, f := range findings {
		fmt.Fprintf(term.out, "%-8s %-16s %s\n", f.Verdict, f.Check, f.Message)
		if f.Try != "" {
			fmt.Fprintf(term.out, "%-25s try: %s\n", "", f.Try)
		}
	}
}
