package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func newEventsCommand(term *terminal) *cobra.Command {
	var (
		target     clientFlags
		all, watch bool
		kind       string
	)
	cmd := &cobra.Command{
		Use:   "events [SERVICE]",
		Short: "List what happened, the latest last",
		Long: "Events lists what the controller reported about a service, its revisions and its instances, or about\n" +
			"everything. The daemon keeps events for an hour.",
		Args: atMostArgs(1),
	}
	target.addTo(cmd.Flags())
	cmd.ValidArgsFunction = serviceNames(&target)
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "events of all namespaces")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show new events as they come")
	cmd.Flags().StringVar(&kind, "type", "", "only events of this type: Normal or Warning")
	output := addOutputFlag(cmd, "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if kind != "" && kind != corev1.EventTypeNormal && kind != corev1.EventTypeWarning {
			return withTry(usagef("--type %s is neither Normal nor Warning", kind), "--type Warning")
		}
		if watch && output.value != "" {
			return withTry(usagef("--watch and --output do not go together"), "fairlead get events --watch -o json")
		}
		namespace := target.namespace
		if all {
			namespace = metav1.NamespaceAll
		}
		c, err := target.dial(cmd)
		if err != nil {
			return err
		}
		filter := eventFilter{kind: kind, service: strings.Join(args, "")}
		list, err := c.kube.CoreV1().Events(namespace).List(cmd.Context(), metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list events: %w", err)
		}
		list.Items = slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return !filter.match(&e) })
		slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return eventTime(&a).Compare(eventTime(&b).Time) })
		if output.value != "" {
			dress(&list.TypeMeta, nil, corev1.SchemeGroupVersion, "EventList")
			for i := range list.Items {
				dress(&list.Items[i].TypeMeta, &list.Items[i], corev1.SchemeGroupVersion, "Event")
			}
			return output.print(term.out, list)
		}
		if len(list.Items) == 0 && filter.service != "" && !watch {
			if _, err := c.getService(cmd.Context(), namespace, filter.service); err != nil && !all {
				return err // of one that was deleted the events stay for a while
			}
		}
		if len(list.Items) == 0 {
			term.note("No events.")
		} else if err := eventTable(list.Items, all).write(term.out, term.human); err != nil {
			return err
		}
		if !watch {
			return nil
		}
		return c.watchEvents(cmd.Context(), term, namespace, list.ResourceVersion, filter)
	}
	return cmd
}

// eventFilter picks the events of one service, its revisions and instances; the zero value picks all.
type eventFilter struct{ service, kind string }

func (f eventFilter) match(e *corev1.Event) bool {
	if f.kind != "" && e.Type != f.kind {
		return false
	}
	name := e.InvolvedObject.Name
	if f.service == "" || name == f.service {
		return true
	}
	// What belongs to a service is named after it: hello-00001, hello-00001-deployment-5c6d. A service whose name
	// begins with another's is told apart by the number of the revision.
	rest, found := strings.CutPrefix(name, f.service+"-")
	number, _, _ := strings.Cut(rest, "-")
	return found && len(number) == 5 && strings.Trim(number, "0123456789") == ""
}

func eventTable(events []corev1.Event, all bool) *table {
	t := &table{header: []string{"AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"}}
	if all {
		t.header = append([]string{"NAMESPACE"}, t.header...)
	}
	now := time.Now()
	for i := range events {
		e := &events[i]
		row := []any{age(eventTime(e), now), eventType(e), e.Reason, strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name, eventMessage(e)}
		if all {
			row = append([]any{e.Namespace}, row...)
		}
		t.add(row...)
	}
	return t
}

func eventType(e *corev1.Event) cell {
	if e.Type == corev1.EventTypeWarning {
		return cell{e.Type, shadeBad}
	}
	return cell{text: e.Type}
}

func eventMessage(e *corev1.Event) string {
	text := strings.Join(strings.Fields(e.Message), " ")
	if e.Count > 1 {
		return fmt.Sprintf("%s (%d times)", text, e.Count)
	}
	return text
}

// eventTime is when an event happened last.
func eventTime(e *corev1.Event) metav1.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return metav1.NewTime(e.Series.LastObservedTime.Time)
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp
	case !e.EventTime.IsZero():
		return metav1.NewTime(e.EventTime.Time)
	}
	return e.CreationTimestamp
}

// watchEvents prints events one a line until ctx ends. Columns cannot be aligned over what has not come yet.
func (c *client) watchEvents(ctx context.Context, term *terminal, namespace, version string, filter eventFilter) error {
	for ctx.Err() == nil {
		changes, err := c.kube.CoreV1().Events(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: version})
		if err != nil {
			return endedBy(ctx, fmt.Errorf("watch events: %w", err))
		}
		for change := range changes.ResultChan() {
			switch object := change.Object.(type) {
			case *corev1.Event:
				version = object.ResourceVersion
				if change.Type != watch.Deleted && filter.match(object) {
					fmt.Fprintf(term.out, "%s   %s   %s   %s/%s   %s\n", eventTime(object).Format(time.TimeOnly), object.Type, object.Reason,
						strings.ToLower(object.InvolvedObject.Kind), object.InvolvedObject.Name, eventMessage(object))
				}
			case *metav1.Status:
				changes.Stop()
				return endedBy(ctx, fmt.Errorf("watch events: %w", apierrors.FromObject(object)))
			}
		}
		changes.Stop()
	}
	return nil
}
