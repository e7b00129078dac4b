package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

func newScaleCommand(term *terminal) *cobra.Command {
	ch := changer{term: term}
	cmd := &cobra.Command{
		Use:   "scale SERVICE MIN..MAX",
		Short: "Set the least and most instances of a service",
		Long: "Scale sets how many instances a service has at least and at most: N, MIN..MAX, MIN.. or ..MAX. An end that\n" +
			"is left out has no limit of its own: no least is zero. The bounds belong to the revision, so a change\n" +
			"makes a new one, as in Knative.",
		Example: "  fairlead scale hello 0..10\n  fairlead scale hello 2..",
		Args:    exactArgs(2),
	}
	ch.addTo(cmd)
	cmd.ValidArgsFunction = serviceNames(&ch.target)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := args[0]
		change, err := scalePatch(args[1])
		if err != nil {
			return err
		}
		c, err := ch.target.dial(cmd)
		if err != nil {
			return err
		}
		changed, err := c.change(cmd.Context(), ch.target.namespace, name, func(*servingv1.Service) (map[string]any, error) {
			return change, nil
		})
		if err != nil {
			return err
		}
		service, err := ch.settle(cmd.Context(), c, changed)
		if err != nil {
			return err
		}
		fmt.Fprintf(term.out, "service %s scales %s: revision %s\n", name, args[1], service.Status.LatestCreatedRevisionName)
		for _, t := range service.Spec.Traffic {
			if revisionOf(t) != latestRevision && percentOf(t) > 0 {
				term.note("Revision %s has traffic of its own and keeps its bounds; to change over: fairlead traffic %s promote", t.RevisionName, name)
			}
		}
		return nil
	}
	return cmd
}

// scalePatch is the merge patch of a service's spec that sets both bounds. The name of the template goes, because the
// change makes another revision, and so do the old spellings of the bounds, which would win over the new ones.
func scalePatch(bounds string) (map[string]any, error) {
	if bounds == "" || bounds == ".." {
		return nil, withTry(usagef("bounds %q are neither N nor MIN..MAX", bounds), "fairlead scale SERVICE 0..10")
	}
	set, err := scaleAnnotations(bounds)
	if err != nil {
		return nil, err
	}
	annotations := map[string]any{}
	for _, key := range slices.Concat(autoscaling.MinScaleAnnotation, autoscaling.MaxScaleAnnotation) {
		annotations[key] = nil
	}
	for key, value := range set {
		annotations[key] = value
	}
	return map[string]any{"template": map[string]any{"metadata": map[string]any{"name": nil, "annotations": annotations}}}, nil
}
