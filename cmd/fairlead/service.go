package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// dial connects to the API that the flags of a command name.
func (c *clientFlags) dial(cmd *cobra.Command) (*client, error) {
	return connect(cmd.Context(), c.kubeconfig(cmd.Flags()))
}

// errNoService says that a service does not exist.
var errNoService = errors.New("there is no service")

// getService reads one service; a missing one is an error that says where it was looked for.
func (c *client) getService(ctx context.Context, namespace, name string) (*servingv1.Service, error) {
	service, err := c.serving.ServingV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, withTry(fmt.Errorf("%w %s in namespace %s", errNoService, name, namespace), "fairlead list --all-namespaces")
	}
	if err != nil {
		return nil, fmt.Errorf("read service %s: %w", name, err)
	}
	return service, nil
}

// revisionsOf lists the revisions of a service, or of all if service is empty, the newest of a service first.
func (c *client) revisionsOf(ctx context.Context, namespace, service string) (*servingv1.RevisionList, error) {
	options := metav1.ListOptions{}
	if service != "" {
		options.LabelSelector = serviceLabel + "=" + service
	}
	list, err := c.serving.ServingV1().Revisions(namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	slices.SortStableFunc(list.Items, newestFirst)
	return list, nil
}

// newestFirst orders revisions by namespace and service, and those of one service by falling generation.
func newestFirst(a, b servingv1.Revision) int {
	if n := strings.Compare(a.Namespace+"/"+a.Labels[serviceLabel], b.Namespace+"/"+b.Labels[serviceLabel]); n != 0 {
		return n
	}
	if x, y := generationOf(&a), generationOf(&b); x != y {
		return int(y - x)
	}
	return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
}

// generationOf is the generation of the configuration that made a revision, 0 if it does not say.
func generationOf(r *servingv1.Revision) int64 {
	n, err := strconv.ParseInt(r.Labels[serving.ConfigurationGenerationLabelKey], 10, 32)
	if err != nil {
		return 0
	}
	return n
}

// change patches a service by what edit gives, and tries again when somebody else changed it meanwhile. edit gets the
// service as it is and gives the fields of a merge patch.
func (c *client) change(ctx context.Context, namespace, name string, edit func(*servingv1.Service) (map[string]any, error)) (*servingv1.Service, error) {
	var changed *servingv1.Service
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		service, err := c.getService(ctx, namespace, name)
		if err != nil {
			return err
		}
		spec, err := edit(service)
		if err != nil {
			return err
		}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": service.ResourceVersion}, "spec": spec})
		if err != nil {
			return fmt.Errorf("change service %s: %w", name, err)
		}
		changed, err = c.serving.ServingV1().Services(namespace).Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
		return err
	})
	if apierrors.IsConflict(err) {
		return nil, withTry(fmt.Errorf("change service %s: somebody else keeps changing it: %w", name, err), "the same command again")
	}
	return changed, err
}

// readyCell shows a condition as a word and its reason.
func readyCell(condition *apis.Condition) (status cell, reason string) {
	if condition == nil {
		return cell{"Unknown", shadeWait}, ""
	}
	switch condition.Status {
	case corev1.ConditionTrue:
		return cell{"True", shadeGood}, condition.Reason
	case corev1.ConditionFalse:
		return cell{"False", shadeBad}, condition.Reason
	}
	return cell{"Unknown", shadeWait}, condition.Reason
}

// serviceNames completes the names of services.
func serviceNames(target *clientFlags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := target.dial(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := c.serving.ServingV1().Services(target.namespace).List(cmd.Context(), metav1.ListOptions{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, s := range list.Items {
			names = append(names, s.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// revisionNames completes a service first, then its revisions.
func revisionNames(target *clientFlags) cobra.CompletionFunc {
	services := serviceNames(target)
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return services(cmd, args, typed)
		}
		c, err := target.dial(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := c.revisionsOf(cmd.Context(), target.namespace, args[0])
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, r := range list.Items {
			names = append(names, r.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
