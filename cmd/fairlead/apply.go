package main

import (
	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
)

func newApplyCommand(term *terminal) *cobra.Command {
	var (
		flags       clientFlags
		files       filenameFlag
		options     object.ApplyOptions
		output, dry string
	)
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make objects as their manifests say",
		Long: "Apply makes or changes the objects of manifests by server-side apply: the fields a manifest names become\n" +
			"what it says, fields it no longer names go, and fields that others set stay.",
		Example: "  fairlead apply -f service.yaml\n  fairlead apply -f manifests/ -R\n  cat service.yaml | fairlead apply -f -",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if options.Format, err = object.ParseFormat(output); err != nil {
				return asUsage(err)
			}
			if options.DryRun, err = dryRun(dry); err != nil {
				return err
			}
			options.Namespace = flags.namespace
			if len(files.paths) == 0 {
				return withTry(usagef("which manifest?"), "fairlead apply -f FILE")
			}
			manifests, err := files.manifests(cmd.Context(), term)
			if err != nil {
				return asUsage(err)
			}
			c, err := (&objectFlags{clientFlags: flags}).objects(cmd, term)
			if err != nil {
				return err
			}
			return c.Apply(cmd.Context(), manifests, options, term.out)
		},
	}
	flags.addTo(cmd.Flags())
	files.addTo(cmd)
	dryRunFlag(cmd.Flags(), &dry)
	cmd.Flags().BoolVar(&options.Force, "force-conflicts", false, "take over fields that another manager owns")
	cmd.Flags().StringVarP(&output, "output", "o", "", "name, json, yaml, jsonpath=TEMPLATE")
	return cmd
}
