package object

import (
	"context"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// DeleteOptions say how objects are deleted.
type DeleteOptions struct {
	Selection
	// Cascade is background, foreground or orphan: what becomes of the objects that belong to a deleted one.
	Cascade string
	// Everything allows deleting without names or a selector.
	Everything bool
	// IgnoreNotFound takes an object that is not there as deleted.
	IgnoreNotFound bool
	// Wait returns only when the objects are gone.
	Wait   bool
	DryRun bool
}

func (o DeleteOptions) options() (metav1.DeleteOptions, error) {
	policies := map[string]metav1.DeletionPropagation{
		"background": metav1.DeletePropagationBackground, "foreground": metav1.DeletePropagationForeground, "orphan": metav1.DeletePropagationOrphan,
	}
	policy, ok := policies[o.Cascade]
	if !ok {
		return metav1.DeleteOptions{}, &UsageError{fmt.Sprintf("--cascade %q is not one of background, foreground, orphan", o.Cascade), "--cascade foreground"}
	}
	out := metav1.DeleteOptions{PropagationPolicy: &policy}
	if o.DryRun {
		out.DryRun = []string{metav1.DryRunAll}
	}
	return out, nil
}

// doomed is an object to delete.
type doomed struct {
	mapping         *meta.RESTMapping
	namespace, name string
	uid             types.UID
}

// Delete deletes the objects of targets and says so on out, one line each.
func (c *Client) Delete(ctx context.Context, targets []Target, o DeleteOptions, out io.Writer) error {
	if err := o.oneChoice(targets); err != nil {
		return err
	}
	var list []doomed
	for _, t := range targets {
		for _, name := range t.Names {
			list = append(list, doomed{mapping: t.Mapping, namespace: o.Namespace, name: name})
		}
		if len(t.Names) > 0 {
			continue
		}
		found, err := c.targetObjects(ctx, t, o.Selection)
		if err != nil {
			return err
		}
		for i := range found {
			list = append(list, doomed{mapping: t.Mapping, namespace: found[i].GetNamespace(), name: found[i].GetName()})
		}
	}
	if len(list) == 0 {
		fmt.Fprintln(c.warn, "No resources found")
	}
	return c.deleteAll(ctx, list, o, out)
}

// oneChoice refuses a deletion that does not say exactly once which objects are meant: what else is said would be ignored.
func (o DeleteOptions) oneChoice(targets []Target) error {
	if o.Everything && (o.Labels != "" || o.Fields != "") {
		return &UsageError{"--all and a selector say two things", "leave out one of them"}
	}
	if err := o.Selection.check(targets); err != nil {
		return err
	}
	for _, t := range targets {
		switch {
		case len(t.Names) > 0 && o.Everything:
			return &UsageError{"names and --all say two things", "leave out one of them"}
		case len(t.Names) == 0 && o.Labels == "" && o.Fields == "" && !o.Everything:
			return &UsageError{"which objects?", "name them, select them with -l, or say --all"}
		}
	}
	return nil
}

// DeleteManifests deletes the objects of manifests, the last first.
func (c *Client) DeleteManifests(ctx context.Context, manifests []Manifest, o DeleteOptions, out io.Writer) error {
	var list []doomed
	for i := len(manifests) - 1; i >= 0; i-- {
		p, err := c.place(manifests[i], o.Namespace)
		if err != nil {
			return err
		}
		list = append(list, doomed{mapping: p.mapping, namespace: p.namespace, name: p.Object.GetName()})
	}
	return c.deleteAll(ctx, list, o, out)
}

func (c *Client) deleteAll(ctx context.Context, list []doomed, o DeleteOptions, out io.Writer) error {
	options, err := o.options()
	if err != nil {
		return err
	}
	var errs []error
	var gone []doomed
	for _, d := range list {
		resource := c.resource(d.mapping, d.namespace)
		if current, err := resource.Get(ctx, d.name, metav1.GetOptions{}); err == nil {
			d.uid = current.GetUID()
		}
		err := resource.Delete(ctx, d.name, options)
		switch {
		case apierrors.IsNotFound(err) && o.IgnoreNotFound:
			continue
		case err != nil:
			errs = append(errs, readable(err, d.mapping, d.name))
			continue
		}
		if _, err := fmt.Fprintf(out, "%s deleted%s\n", Label(d.mapping, d.name), dryRunMark(o.DryRun)); err != nil {
			return err
		}
		gone = append(gone, d)
	}
	if !o.Wait || o.DryRun {
		return errors.Join(errs...)
	}
	for _, d := range gone {
		if err := c.awaitDeletion(ctx, d.mapping, d.namespace, d.name, d.uid); err != nil {
			errs = append(errs, fmt.Errorf("waiting until %s is gone: %w", Label(d.mapping, d.name), err))
		}
	}
	return errors.Join(errs...)
}
