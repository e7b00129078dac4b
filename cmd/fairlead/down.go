package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/project"
)

func newDownCommand(term *terminal) *cobra.Command {
	var (
		target  clientFlags
		path    string
		volumes bool
	)
	cmd := &cobra.Command{
		Use:   "down [-f FILE|FOLDER]",
		Short: "Delete what up made",
		Long: "Down deletes everything that `fairlead up` made of the same file or folder, and waits until it is gone. Named\n" +
			"volumes and their data stay, unless --volumes is given.",
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			kind, file, err := project.Find(path)
			if err != nil {
				return usageError{err}
			}
			var p *project.Project
			if kind != project.Manifests {
				if p, err = loadProject(cmd.Context(), kind, file, target.namespace); err != nil {
					return err
				}
			}
			c, err := target.dial(cmd)
			if err != nil {
				return err
			}
			if p != nil {
				return c.deleteProject(cmd.Context(), term, target.namespace, p.Name, volumes)
			}
			manifests, err := object.ReadManifests(cmd.Context(), []string{file}, false, term.in)
			if err != nil {
				return asUsage(err)
			}
			objects, err := object.New(c.config, term.err)
			if err != nil {
				return err
			}
			options := object.DeleteOptions{IgnoreNotFound: true, Wait: true, Cascade: "foreground"}
			options.Namespace = target.namespace
			told := &tellTale{out: term.err}
			err = objects.DeleteManifests(cmd.Context(), manifests, options, told)
			if err == nil && !told.any {
				term.note("Nothing of %s is there in namespace %s.", file, target.namespace)
			}
			return err
		},
	}
	target.addTo(cmd.Flags())
	cmd.Flags().StringVarP(&path, "file", "f", ".", "file, or folder with one")
	cmd.Flags().BoolVarP(&volumes, "volumes", "v", false, "delete named volumes and their data too")
	return cmd
}

// tellTale remembers whether anything was written.
type tellTale struct {
	out io.Writer
	any bool
}

func (t *tellTale) Write(p []byte) (int, error) {
	t.any = true
	return t.out.Write(p)
}

// deleteProject deletes everything with the label of a project and waits until its workloads are gone.
func (c *client) deleteProject(ctx context.Context, term *terminal, namespace, name string, volumes bool) error {
	selector := metav1.ListOptions{LabelSelector: project.LabelProject + "=" + name}
	services, err := c.serving.ServingV1().Services(namespace).List(ctx, selector)
	if err != nil {
		return fmt.Errorf("delete project %s: %w", name, err)
	}
	foreground := metav1.DeletePropagationForeground
	options := metav1.DeleteOptions{PropagationPolicy: &foreground}
	var failures []error
	failed := func(kind, object string, err error) bool {
		if err == nil || apierrors.IsNotFound(err) {
			return false
		}
		failures = append(failures, fmt.Errorf("delete %s %s: %w", kind, object, err))
		return true
	}
	for _, s := range services.Items {
		if !failed("service", s.Name, c.serving.ServingV1().Services(namespace).Delete(ctx, s.Name, options)) {
			term.note("Deleted service %s", s.Name)
		}
	}
	pods, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.LabelSelector + ",!" + serviceLabel})
	if err != nil {
		return fmt.Errorf("delete project %s: %w", name, err)
	}
	for _, p := range pods.Items {
		if !failed("instance", p.Name, c.kube.CoreV1().Pods(namespace).Delete(ctx, p.Name, metav1.DeleteOptions{})) {
			term.note("Deleted instance %s", p.Name)
		}
	}
	for _, p := range pods.Items {
		failed("instance", p.Name, c.waitPodGone(ctx, namespace, p.Name))
	}
	failures = append(failures, c.deleteSupport(ctx, namespace, selector, volumes)...)
	if len(services.Items)+len(pods.Items) == 0 {
		term.note("Project %s has nothing running in namespace %s.", name, namespace)
	}
	return errors.Join(failures...)
}

// deleteSupport deletes what stands beside the workloads of a project.
func (c *client) deleteSupport(ctx context.Context, namespace string, selector metav1.ListOptions, volumes bool) []error {
	core, none := c.kube.CoreV1(), metav1.DeleteOptions{}
	failures := []error{
		core.ConfigMaps(namespace).DeleteCollection(ctx, none, selector),
		core.Secrets(namespace).DeleteCollection(ctx, none, selector),
	}
	if volumes {
		failures = append(failures, core.PersistentVolumeClaims(namespace).DeleteCollection(ctx, none, selector))
	}
	names, err := core.Services(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.LabelSelector + ",!" + serviceLabel})
	if err != nil {
		return append(failures, err)
	}
	for _, s := range names.Items {
		if err := core.Services(namespace).Delete(ctx, s.Name, none); !apierrors.IsNotFound(err) {
			failures = append(failures, err)
		}
	}
	return failures
}
