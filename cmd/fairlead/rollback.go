package main

import (
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

func newRollbackCommand(term *terminal) *cobra.Command {
	ch := changer{term: term}
	cmd := &cobra.Command{
		Use:   "rollback SERVICE [REVISION]",
		Short: "Give all traffic to an earlier revision",
		Long: "Rollback gives all traffic to a revision: to the one named, else to the newest ready one that is older than\n" +
			"the newest one that has traffic now. Later deployments then get no traffic until `fairlead traffic SERVICE\n" +
			"promote`. Tags stay as they are.",
		Example: "  fairlead rollback hello\n  fairlead rollback hello hello-00001",
		Args:    rangeArgs(1, 2),
	}
	ch.addTo(cmd)
	cmd.ValidArgsFunction = revisionNames(&ch.target)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, name := cmd.Context(), args[0]
		c, err := ch.target.dial(cmd)
		if err != nil {
			return err
		}
		service, err := c.getService(ctx, ch.target.namespace, name)
		if err != nil {
			return err
		}
		var revision string
		if len(args) == 2 {
			revision = args[1]
		} else {
			list, err := c.revisionsOf(ctx, ch.target.namespace, name)
			if err != nil {
				return err
			}
			if revision, err = previousRevision(service, list.Items); err != nil {
				return err
			}
		}
		service, err = ch.setTraffic(ctx, c, name, split{percent: []assignment{{revision, "100"}}})
		if err != nil {
			return err
		}
		term.note("Later deployments get no traffic until: fairlead traffic %s promote", name)
		return c.printTraffic(ctx, term, service)
	}
	return cmd
}

// previousRevision picks the newest ready revision older than the newest one that has traffic. revisions are sorted the
// newest first.
func previousRevision(service *servingv1.Service, revisions []servingv1.Revision) (string, error) {
	serving := map[string]bool{}
	for _, t := range service.Status.Traffic {
		if percentOf(t) > 0 {
			serving[t.RevisionName] = true
		}
	}
	current := ""
	for i := range revisions {
		r := &revisions[i]
		if current == "" {
			if serving[r.Name] {
				current = r.Name
			}
			continue
		}
		if ready := r.Status.GetCondition(apis.ConditionReady); ready != nil && ready.Status == corev1.ConditionTrue {
			return r.Name, nil
		}
	}
	if current == "" {
		return "", withTry(fmt.Errorf("service %s has no revision with traffic", service.Name), "fairlead revisions %s", service.Name)
	}
	return "", withTry(fmt.Errorf("service %s has no ready revision older than %s", service.Name, current), "fairlead revisions %s", service.Name)
}
