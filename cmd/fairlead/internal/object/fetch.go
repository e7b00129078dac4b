package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// asTable asks for rows as the server would print them.
const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

// path is where the objects of a kind are.
func path(mapping *meta.RESTMapping, namespace string) []string {
	parts := []string{"apis", mapping.Resource.Group, mapping.Resource.Version}
	if mapping.Resource.Group == "" {
		parts = []string{"api", mapping.Resource.Version}
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace && namespace != "" {
		parts = append(parts, "namespaces", namespace)
	}
	return append(parts, mapping.Resource.Resource)
}

// tableRequest asks for rows; include says how much of the object comes with each.
func (c *Client) tableRequest(mapping *meta.RESTMapping, s Selection, name string, include metav1.IncludeObjectPolicy) *rest.Request {
	parts := path(mapping, s.namespace())
	if name != "" {
		parts = append(parts, name)
	}
	r := c.rest.Get().AbsPath(parts...).SetHeader("Accept", asTable).Param("includeObject", string(include))
	if name == "" {
		r = selectors(r, s)
	}
	return r
}

func selectors(r *rest.Request, s Selection) *rest.Request {
	if s.Labels != "" {
		r = r.Param("labelSelector", s.Labels)
	}
	if s.Fields != "" {
		r = r.Param("fieldSelector", s.Fields)
	}
	return r
}

// table reads one object, or all that are selected, as rows.
func (c *Client) table(ctx context.Context, mapping *meta.RESTMapping, s Selection, name string, include metav1.IncludeObjectPolicy) (*metav1.Table, error) {
	data, err := c.tableRequest(mapping, s, name, include).Do(ctx).Raw()
	if err != nil {
		return nil, readable(inFull(err, data), mapping, name)
	}
	return parseTable(data)
}

// inFull is the error as the server worded it, which client-go drops when it was asked for a table.
func inFull(err error, body []byte) error {
	var status metav1.Status
	if json.Unmarshal(body, &status) != nil || status.Kind != "Status" || status.Message == "" {
		return err
	}
	return apierrors.FromObject(&status)
}

func parseTable(data []byte) (*metav1.Table, error) {
	var t metav1.Table
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("the server's answer: %w", err)
	}
	if t.Kind != "Table" {
		return nil, fmt.Errorf("the server answered with a %s where a Table was asked for", t.Kind)
	}
	for i := range t.Rows {
		var row unstructured.Unstructured
		if len(t.Rows[i].Object.Raw) == 0 {
			continue
		}
		if err := row.UnmarshalJSON(t.Rows[i].Object.Raw); err != nil {
			return nil, fmt.Errorf("row %d of the server's answer: %w", i, err)
		}
		t.Rows[i].Object.Object = &row
	}
	return &t, nil
}

// rowMeta is the metadata of the object a row is about; empty where the server sent none.
func rowMeta(row *metav1.TableRow) *unstructured.Unstructured {
	if o, ok := row.Object.Object.(*unstructured.Unstructured); ok {
		return o
	}
	return &unstructured.Unstructured{Object: map[string]any{}}
}

// objects reads the objects of the targets, or all that are selected, in full.
func (c *Client) objects(ctx context.Context, targets []Target, s Selection) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	for _, t := range targets {
		found, err := c.targetObjects(ctx, t, s)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (c *Client) targetObjects(ctx context.Context, t Target, s Selection) ([]unstructured.Unstructured, error) {
	if len(t.Names) == 0 {
		list, err := c.resource(t.Mapping, s.namespace()).List(ctx, s.options())
		if err != nil {
			return nil, readable(err, t.Mapping, "")
		}
		return list.Items, nil
	}
	var out []unstructured.Unstructured
	for _, name := range t.Names {
		o, err := c.resource(t.Mapping, s.namespace()).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, readable(err, t.Mapping, name)
		}
		out = append(out, *o)
	}
	return out, nil
}

// change is one event of a watch.
type change struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// watch calls seen for every change after resourceVersion until ctx ends, the server ends the watch or seen fails.
func (c *Client) watch(ctx context.Context, r *rest.Request, resourceVersion string, seen func(change) error) error {
	stream, err := r.Param("watch", "1").Param("resourceVersion", resourceVersion).Param("allowWatchBookmarks", "true").Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	dec := json.NewDecoder(stream)
	for {
		var event change
		if err := dec.Decode(&event); err != nil {
			return watchEnd(ctx, err)
		}
		if event.Type == "ERROR" {
			return statusError(event.Object)
		}
		if err := seen(event); err != nil {
			return err
		}
	}
}

// watchEnd is nil when the stream ended as streams do.
func watchEnd(ctx context.Context, err error) error {
	var broken *url.Error
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken) {
		return nil
	}
	return fmt.Errorf("reading a watch: %w", err)
}

func statusError(data []byte) error {
	var status metav1.Status
	if err := json.Unmarshal(data, &status); err != nil {
		return fmt.Errorf("reading a watch: %w", err)
	}
	return apierrors.FromObject(&status)
}

// missing is an object that is not there.
type missing struct {
	err    error
	advice string
}

func (e *missing) Error() string { return e.err.Error() }
func (e *missing) Unwrap() error { return e.err }

// Try says how to see what is there.
func (e *missing) Try() string { return e.advice }

// plural names a kind so that it cannot be mistaken for another: services.serving.knative.dev.
func plural(mapping *meta.RESTMapping) string { return mapping.Resource.GroupResource().String() }

// readable adds advice to the errors people meet most.
func readable(err error, mapping *meta.RESTMapping, name string) error {
	if err == nil {
		return nil
	}
	if apierrors.IsNotFound(err) && name != "" {
		return &missing{err, "fairlead get " + plural(mapping) + " -A"}
	}
	return err
}
