package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

func newRevisionsCommand(term *terminal) *cobra.Command {
	var (
		target clientFlags
		all    bool
	)
	cmd := &cobra.Command{
		Use:     "revisions [SERVICE]",
		Aliases: []string{"revs"},
		Short:   "List revisions, the newest first, with their share of the traffic",
		Args:    atMostArgs(1),
	}
	target.addTo(cmd.Flags())
	cmd.ValidArgsFunction = serviceNames(&target)
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "revisions of all namespaces")
	output := addOutputFlag(cmd, "json", "yaml", "name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		service := strings.Join(args, "")
		namespace := target.namespace
		if all {
			namespace = metav1.NamespaceAll
		}
		c, err := target.dial(cmd)
		if err != nil {
			return err
		}
		if service != "" && !all {
			if _, err := c.getService(cmd.Context(), namespace, service); err != nil {
				return err
			}
		}
		list, err := c.revisionsOf(cmd.Context(), namespace, service)
		if err != nil {
			return err
		}
		switch output.value {
		case "json", "yaml":
			return output.print(term.out, typedRevisions(list))
		case "name":
			for _, r := range list.Items {
				fmt.Fprintf(term.out, "revision.serving.knative.dev/%s\n", r.Name)
			}
			return nil
		}
		services, err := c.serving.ServingV1().Services(namespace).List(cmd.Context(), metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list services: %w", err)
		}
		if len(list.Items) == 0 {
			term.note("No revisions.")
			return nil
		}
		return revisionTable(list.Items, services.Items, all).write(term.out, term.human)
	}
	return cmd
}

func typedRevisions(list *servingv1.RevisionList) *servingv1.RevisionList {
	dress(&list.TypeMeta, nil, servingv1.SchemeGroupVersion, "RevisionList")
	for i := range list.Items {
		dress(&list.Items[i].TypeMeta, &list.Items[i], servingv1.SchemeGroupVersion, "Revision")
	}
	return list
}

func revisionTable(revisions []servingv1.Revision, services []servingv1.Service, all bool) *table {
	t := &table{header: []string{"NAME", "SERVICE", "TRAFFIC", "TAGS", "READY", "REASON", "INSTANCES", "AGE"}}
	if all {
		t.header = append([]string{"NAMESPACE"}, t.header...)
	}
	shares := sharesByRevision(services)
	now := time.Now()
	for i := range revisions {
		r := &revisions[i]
		ready, reason := readyCell(r.Status.GetCondition(apis.ConditionReady))
		s := shares[r.Namespace+"/"+r.Name]
		traffic := ""
		if s.percent > 0 {
			traffic = fmt.Sprintf("%d%%", s.percent)
		}
		var instances int32
		if r.Status.ActualReplicas != nil {
			instances = *r.Status.ActualReplicas
		}
		row := []any{r.Name, r.Labels[serviceLabel], traffic, strings.Join(s.tags, ","), ready, reason, instances, age(r.CreationTimestamp, now)}
		if all {
			row = append([]any{r.Namespace}, row...)
		}
		t.add(row...)
	}
	return t
}

// share is what a revision gets of the requests of its service.
type share struct {
	percent int64
	tags    []string
}

// sharesByRevision reads the traffic in force (status, not spec) by namespace/revision.
func sharesByRevision(services []servingv1.Service) map[string]share {
	shares := map[string]share{}
	for _, s := range services {
		for _, target := range s.Status.Traffic {
			key := s.Namespace + "/" + target.RevisionName
			now := shares[key]
			if target.Percent != nil {
				now.percent += *target.Percent
			}
			if target.Tag != "" {
				now.tags = append(now.tags, target.Tag)
			}
			shares[key] = now
		}
	}
	return shares
}
