package object

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/jsonpath"
)

// Expectation is what Wait waits for: the value of --for.
type Expectation struct {
	text string
	// gone is the deletion of the object, present its creation; else met tells.
	gone, present bool
	met           func(*unstructured.Unstructured) (bool, error)
}

// ParseExpectation reads "delete", "create", "condition=NAME[=VALUE]" or "jsonpath=EXPRESSION[=VALUE]".
func ParseExpectation(text string) (Expectation, error) {
	e := Expectation{text: text}
	kind, rest, _ := strings.Cut(text, "=")
	switch {
	case lower(text) == "delete":
		e.gone = true
	case lower(text) == "create":
		e.present = true
	case lower(kind) == "condition" && rest != "":
		name, value, found := strings.Cut(rest, "=")
		if !found {
			value = "true"
		}
		e.met = func(o *unstructured.Unstructured) (bool, error) { return conditionIs(o, name, value), nil }
	case lower(kind) == "jsonpath" && rest != "":
		met, err := jsonPathExpectation(rest)
		if err != nil {
			return e, err
		}
		e.met = met
	default:
		return e, &UsageError{fmt.Sprintf("--for %q means nothing", text), "--for condition=Ready, --for delete or --for jsonpath='{.status.phase}'=Running"}
	}
	return e, nil
}

func jsonPathExpectation(text string) (func(*unstructured.Unstructured) (bool, error), error) {
	var expression, value string
	var hasValue bool
	if end := strings.LastIndex(text, "}"); end >= 0 {
		expression = text[:end+1]
		value, hasValue = strings.CutPrefix(text[end+1:], "=")
	} else {
		expression, value, hasValue = strings.Cut(text, "=")
	}
	t := jsonpath.New("for").AllowMissingKeys(true)
	if err := t.Parse(relaxed(expression)); err != nil {
		return nil, &UsageError{fmt.Sprintf("--for jsonpath: %v", err), "--for jsonpath='{.status.phase}'=Running"}
	}
	return func(o *unstructured.Unstructured) (bool, error) {
		var b bytes.Buffer
		if err := t.Execute(&b, o.Object); err != nil {
			return false, fmt.Errorf("--for jsonpath: %w", err)
		}
		if !hasValue {
			return b.Len() > 0, nil
		}
		return b.String() == value, nil
	}, nil
}

// conditionIs says whether a condition has a value and is about the object as it is now.
func conditionIs(o *unstructured.Unstructured, name, value string) bool {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		condition, ok := c.(map[string]any)
		if !ok || !strings.EqualFold(fmt.Sprint(condition["type"]), name) {
			continue
		}
		if observed, found, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration"); found && observed < o.GetGeneration() {
			return false
		}
		return strings.EqualFold(fmt.Sprint(condition["status"]), value)
	}
	return false
}

// WaitOptions say what to wait for and how long.
type WaitOptions struct {
	Selection
	For Expectation
	// Timeout is for all objects together; 0 looks once.
	Timeout time.Duration
}

// errTimeout ends a wait.
var errTimeout = errors.New("timed out")

// Wait returns when every object is as expected and says so on out, one line each.
func (c *Client) Wait(ctx context.Context, targets []Target, o WaitOptions, out io.Writer) error {
	if err := o.Selection.check(targets); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, max(o.Timeout, time.Millisecond), errTimeout)
	defer cancel()
	seen := 0
	for _, t := range targets {
		names := t.Names
		if len(names) == 0 {
			found, err := c.targetObjects(context.WithoutCancel(ctx), t, o.Selection)
			if err != nil {
				return err
			}
			for i := range found {
				names = append(names, found[i].GetNamespace()+"/"+found[i].GetName())
			}
		}
		for _, name := range names {
			namespace := cmp.Or(t.Namespace, o.Namespace)
			if own, bare, found := strings.Cut(name, "/"); found {
				namespace, name = own, bare
			}
			if err := c.waitOne(ctx, t.Mapping, namespace, name, o); err != nil {
				return err
			}
			seen++
			if _, err := fmt.Fprintf(out, "%s condition met\n", Label(t.Mapping, name)); err != nil {
				return err
			}
		}
	}
	if seen == 0 && !o.For.gone {
		return &missing{errors.New("no matching resources found"), "fairlead get " + plural(targets[0].Mapping)}
	}
	return nil
}

// timeout is a wait that ended too early.
type timeout struct {
	absent      bool // the object may not be there at all
	label, text string
	mapping     *meta.RESTMapping
	name        string
}

func (e *timeout) Error() string {
	return fmt.Sprintf("timed out waiting for %s on %s", e.text, e.label)
}

// Try says where to look.
func (e *timeout) Try() string {
	if e.absent {
		return "fairlead get " + plural(e.mapping)
	}
	return fmt.Sprintf("fairlead describe %s %s", plural(e.mapping), e.name)
}

func (c *Client) waitOne(ctx context.Context, mapping *meta.RESTMapping, namespace, name string, o WaitOptions) error {
	var err error
	if o.For.gone {
		err = c.awaitDeletion(ctx, mapping, namespace, name, "")
	} else {
		err = c.await(ctx, mapping, namespace, name, func(current *unstructured.Unstructured) (bool, error) {
			switch {
			case current == nil && o.For.present:
				return false, nil
			case current == nil:
				return false, readable(apierrors.NewNotFound(mapping.Resource.GroupResource(), name), mapping, name)
			case o.For.present:
				return true, nil
			}
			return o.For.met(current)
		})
	}
	if errors.Is(err, errTimeout) || (err != nil && errors.Is(context.Cause(ctx), errTimeout)) {
		return &timeout{o.For.present, Label(mapping, name), o.For.text, mapping, name}
	}
	return err
}

// awaitDeletion returns when no object of that name, or none with that uid, is there.
func (c *Client) awaitDeletion(ctx context.Context, mapping *meta.RESTMapping, namespace, name string, uid types.UID) error {
	return c.await(ctx, mapping, namespace, name, func(current *unstructured.Unstructured) (bool, error) {
		return current == nil || (uid != "" && current.GetUID() != uid), nil
	})
}

// await calls done with an object, nil while there is none, at once and after every change until it says true.
func (c *Client) await(ctx context.Context, mapping *meta.RESTMapping, namespace, name string, done func(*unstructured.Unstructured) (bool, error)) error {
	resource := c.resource(mapping, namespace)
	for {
		list, err := resource.List(context.WithoutCancel(ctx), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			return err
		}
		var current *unstructured.Unstructured
		if len(list.Items) > 0 {
			current = &list.Items[0]
		}
		if ok, err := done(current); ok || err != nil {
			return err
		}
		changes, err := resource.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: list.GetResourceVersion()})
		if err != nil {
			return endOf(ctx, err)
		}
		ok, err := awaitChange(ctx, changes, done)
		changes.Stop()
		if ok || err != nil {
			return err
		}
	}
}

func awaitChange(ctx context.Context, changes watch.Interface, done func(*unstructured.Unstructured) (bool, error)) (bool, error) {
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case event, open := <-changes.ResultChan():
			if !open || event.Type == watch.Error {
				return false, nil // List again; that tells what is wrong.
			}
			current, isObject := event.Object.(*unstructured.Unstructured)
			if !isObject || event.Type == watch.Bookmark {
				continue
			}
			if event.Type == watch.Deleted {
				current = nil
			}
			if ok, err := done(current); ok || err != nil {
				return ok, err
			}
		}
	}
}

func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
