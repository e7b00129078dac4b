package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// FieldManager is who owns the fields that Apply sets.
const FieldManager = "fairlead"

// ApplyOptions say how manifests are applied.
type ApplyOptions struct {
	// Namespace is for manifests without one.
	Namespace string
	// Force takes over fields that another manager owns.
	Force bool
	// DryRun has the server check and answer, and store nothing.
	DryRun bool
	// Format shows the objects instead of a line for each, where it is not a table.
	Format Format
}

// Apply makes objects as their manifests say, by server-side apply, one after the other. What cannot be applied does
// not keep the rest from it; the error joins all.
func (c *Client) Apply(ctx context.Context, manifests []Manifest, o ApplyOptions, out io.Writer) error {
	var errs []error
	for _, m := range manifests {
		if err := c.applyOne(ctx, m, o, out); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (c *Client) applyOne(ctx context.Context, m Manifest, o ApplyOptions, out io.Writer) error {
	p, err := c.place(m, o.Namespace)
	if err != nil {
		return err
	}
	resource := c.resource(p.mapping, p.namespace)
	before, err := resource.Get(ctx, p.Object.GetName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: %w", m.Source, err)
	}
	existed := err == nil
	options := metav1.PatchOptions{FieldManager: FieldManager, Force: &o.Force, FieldValidation: metav1.FieldValidationStrict}
	if o.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	data, err := json.Marshal(applied(p.Object))
	if err != nil {
		return fmt.Errorf("%s: %w", m.Source, err)
	}
	after, err := resource.Patch(ctx, p.Object.GetName(), types.ApplyPatchType, data, options)
	if err != nil {
		return applyError(err, p)
	}
	if !o.Format.table() {
		return o.Format.show(out, Label(p.mapping, after.GetName()), after)
	}
	verb := "created"
	switch {
	case existed && before.GetResourceVersion() == after.GetResourceVersion():
		verb = "unchanged"
	case existed:
		verb = "configured"
	}
	_, err = fmt.Fprintf(out, "%s %s%s\n", Label(p.mapping, after.GetName()), verb, dryRunMark(o.DryRun))
	return err
}

// applied is a manifest as server-side apply takes it: without what only the server may set.
func applied(o *unstructured.Unstructured) map[string]any {
	o = o.DeepCopy()
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	o.SetUID("")
	unstructured.RemoveNestedField(o.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(o.Object, "status")
	return o.Object
}

// show prints one object in a format that is not a table.
func (f Format) show(out io.Writer, label string, o *unstructured.Unstructured) error {
	if f.kind == "name" {
		_, err := fmt.Fprintln(out, label)
		return err
	}
	return f.print(out, []unstructured.Unstructured{*o}, true)
}

func dryRunMark(dryRun bool) string {
	if dryRun {
		return " (server dry run)"
	}
	return ""
}

// conflict is a field that another manager owns.
type conflict struct{ err error }

func (e *conflict) Error() string { return e.err.Error() }
func (e *conflict) Unwrap() error { return e.err }

// Try says how to take the field over.
func (e *conflict) Try() string {
	return "leave the field out of the manifest, or take it over with --force-conflicts"
}

func applyError(err error, p placed) error {
	wrapped := fmt.Errorf("%s: %s: %w", p.Source, Label(p.mapping, p.Object.GetName()), err)
	if apierrors.IsConflict(err) {
		return &conflict{wrapped}
	}
	return wrapped
}
