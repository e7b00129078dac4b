package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// promote is the word that gives all traffic to the latest revision.
const promote = "promote"

// changer is what the commands share that change a service and wait until the change is in force.
type changer struct {
	term   *terminal
	target clientFlags
	wait   time.Duration
}

func (ch *changer) addTo(cmd *cobra.Command) {
	ch.target.addTo(cmd.Flags())
	cmd.Flags().DurationVar(&ch.wait, "wait", 2*time.Minute, "how long to wait until the change is in force; 0 does not wait")
	cmd.PreRunE = func(*cobra.Command, []string) error { return positive("wait", ch.wait) }
}

// settle waits until a changed service is ready again.
func (ch *changer) settle(ctx context.Context, c *client, service *servingv1.Service) (*servingv1.Service, error) {
	return c.await(ctx, service, ch.patience(service))
}

func (ch *changer) patience(service *servingv1.Service) patientWait {
	return patientWait{term: ch.term, label: "Waiting", timeout: ch.wait, failed: "the change of service " + service.Name + " is not in force"}
}

func newTrafficCommand(term *terminal) *cobra.Command {
	ch := changer{term: term}
	var to, tags, untag []string
	cmd := &cobra.Command{
		Use:   "traffic SERVICE [promote]",
		Short: "Show or split the traffic of a service",
		Long: "Traffic shows which revision gets how much of the requests, or changes it. A revision is written as its\n" +
			"name, its number, its tag, or \"latest\" for whichever is the latest ready one. What --to does not give away\n" +
			"stays with the revision that has the traffic, if it is a single one. A tag gives a revision a URL of its\n" +
			"own. `promote` gives all traffic to the latest revision, now and after later changes.",
		Example: "  fairlead traffic hello\n" +
			"  fairlead traffic hello --to hello-00001=10\n" +
			"  fairlead traffic hello --to hello-00002=50,hello-00001=50 --tag hello-00002=blue\n" +
			"  fairlead traffic hello promote",
	}
	ch.addTo(cmd)
	cmd.Flags().StringArrayVar(&to, "to", nil, "shares REVISION=PERCENT, with commas between them")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "tags REVISION=TAG, with commas between them")
	cmd.Flags().StringSliceVar(&untag, "untag", nil, "tags to take away")
	output := addOutputFlag(cmd, "json", "yaml")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 || len(args) == 2 && args[1] == promote {
			return nil
		}
		return withTry(usagef("%s takes a service, and perhaps the word promote", cmd.CommandPath()), "fairlead traffic SERVICE")
	}
	cmd.ValidArgsFunction = trafficWords(&ch.target)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := parseSplit(to, tags, untag)
		if err != nil {
			return err
		}
		if len(args) == 2 {
			if len(change.percent) > 0 {
				return withTry(usagef("promote gives all traffic to the latest revision: --to says something else"), "fairlead traffic %s promote", args[0])
			}
			change.percent = []assignment{{latestRevision, "100"}}
		}
		return ch.traffic(cmd, args[0], change, output)
	}
	return cmd
}

func trafficWords(target *clientFlags) cobra.CompletionFunc {
	services := serviceNames(target)
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return []cobra.Completion{promote}, cobra.ShellCompDirectiveNoFileComp
		}
		return services(cmd, args, typed)
	}
}

// traffic changes the split if there is something to change, and prints the one in force.
func (ch *changer) traffic(cmd *cobra.Command, name string, change split, output *outputFormat) error {
	ctx := cmd.Context()
	c, err := ch.target.dial(cmd)
	if err != nil {
		return err
	}
	service, err := c.getService(ctx, ch.target.namespace, name)
	if err != nil {
		return err
	}
	if !change.empty() {
		if service, err = ch.setTraffic(ctx, c, name, change); err != nil {
			return err
		}
	}
	if output.value != "" {
		return output.print(ch.term.out, service.Status.Traffic)
	}
	return c.printTraffic(ctx, ch.term, service)
}

// setTraffic changes the split and waits until it is in force.
func (ch *changer) setTraffic(ctx context.Context, c *client, name string, change split) (*servingv1.Service, error) {
	list, err := c.revisionsOf(ctx, ch.target.namespace, name)
	if err != nil {
		return nil, err
	}
	var revisions []string
	for _, r := range list.Items {
		revisions = append(revisions, r.Name)
	}
	changed, err := c.change(ctx, ch.target.namespace, name, func(now *servingv1.Service) (map[string]any, error) {
		targets, err := change.apply(name, now.Spec.Traffic, revisions)
		return map[string]any{"traffic": targets}, err
	})
	if err != nil {
		return nil, err
	}
	wait := ch.patience(changed)
	wait.traffic = true // traffic goes back from a revision that fails without waiting for that one
	return c.await(ctx, changed, wait)
}

func (c *client) printTraffic(ctx context.Context, term *terminal, service *servingv1.Service) error {
	info, err := readInfo(ctx, c.kube)
	if err != nil {
		return err
	}
	t := table{header: []string{"REVISION", "PERCENT", "TAG", "LATEST", "URL"}}
	for _, target := range service.Status.Traffic {
		follows := ""
		if target.LatestRevision != nil && *target.LatestRevision {
			follows = "yes"
		}
		u := target.URL
		if u == nil && percentOf(target) > 0 {
			u = service.Status.URL
		}
		t.add(target.RevisionName, fmt.Sprintf("%d%%", percentOf(target)), target.Tag, follows, publicURL(u, info.Gateway))
	}
	if len(t.rows) == 0 {
		term.note("Service %s has no traffic yet%s", service.Name, notReadyNote(service))
		return nil
	}
	return t.write(term.out, term.human)
}

// notReadyNote explains a service that has no traffic with the message of its condition.
func notReadyNote(service *servingv1.Service) string {
	if c := service.Status.GetCondition(apis.ConditionReady); c != nil && c.Message != "" {
		return ": " + strings.TrimSuffix(c.Message, ".")
	}
	return ""
}
