package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

func newListCommand(term *terminal) *cobra.Command {
	var (
		target clientFlags
		all    bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "ps"},
		Short:   "List services with their URLs",
		Long: "List shows each service with its URL (with the port on which the gateway really listens), whether it is\n" +
			"ready, its latest revision, what isolates its instances (none: the process driver, for code you trust) and how\n" +
			"many of them run now.",
		Example: "  fairlead list -A\n  fairlead list -o json | jq -r '.items[].status.url'",
		Args:    exactArgs(0),
	}
	target.addTo(cmd.Flags())
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "services of all namespaces")
	output := addOutputFlag(cmd, "json", "yaml", "name")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := target.dial(cmd)
		if err != nil {
			return err
		}
		namespace := target.namespace
		if all {
			namespace = metav1.NamespaceAll
		}
		list, err := c.serving.ServingV1().Services(namespace).List(cmd.Context(), metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list services: %w", err)
		}
		switch output.value {
		case "json", "yaml":
			return output.print(term.out, typedServices(list))
		case "name":
			for _, s := range list.Items {
				fmt.Fprintf(term.out, "service.serving.knative.dev/%s\n", s.Name)
			}
			return nil
		}
		return c.printServices(cmd.Context(), term, list, all)
	}
	return cmd
}

// typedServices gives a list and its elements the kinds that clients drop.
func typedServices(list *servingv1.ServiceList) *servingv1.ServiceList {
	dress(&list.TypeMeta, nil, servingv1.SchemeGroupVersion, "ServiceList")
	for i := range list.Items {
		dress(&list.Items[i].TypeMeta, &list.Items[i], servingv1.SchemeGroupVersion, "Service")
	}
	return list
}

func (c *client) printServices(ctx context.Context, term *terminal, list *servingv1.ServiceList, all bool) error {
	if len(list.Items) == 0 {
		term.note("No services. Run one with: fairlead run .")
		return nil
	}
	info, err := readInfo(ctx, c.kube)
	if err != nil {
		return err
	}
	namespace := list.Items[0].Namespace
	if all {
		namespace = metav1.NamespaceAll
	}
	revisions, err := c.revisionsOf(ctx, namespace, "")
	if err != nil {
		return err
	}
	instances := instancesByService(revisions.Items)
	slices.SortFunc(list.Items, func(a, b servingv1.Service) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	t := table{header: []string{"NAME", "URL", "READY", "REASON", "LATEST", "ISOLATION", "INSTANCES", "AGE"}}
	if all {
		t.header = append([]string{"NAMESPACE"}, t.header...)
	}
	now := time.Now()
	for i := range list.Items {
		s := &list.Items[i]
		ready, reason := readyCell(s.Status.GetCondition(apis.ConditionReady))
		row := []any{
			s.Name, publicURL(s.Status.URL, info.Gateway), ready, reason, s.Status.LatestCreatedRevisionName,
			isolationCell(s.Status.Annotations[isolationAnnotation]), instances[s.Namespace+"/"+s.Name], age(s.CreationTimestamp, now),
		}
		if all {
			row = append([]any{s.Namespace}, row...)
		}
		t.add(row...)
	}
	return t.write(term.out, term.human)
}

// instancesByService counts the instances of all revisions of each namespace/service.
func instancesByService(revisions []servingv1.Revision) map[string]int32 {
	count := map[string]int32{}
	for _, r := range revisions {
		if r.Status.ActualReplicas != nil {
			count[r.Namespace+"/"+r.Labels[serviceLabel]] += *r.Status.ActualReplicas
		}
	}
	return count
}
