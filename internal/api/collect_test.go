package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/api"
)

func withWidgets(c *api.Config) {
	c.Definitions = []*apiextensionsv1.CustomResourceDefinition{widgets()}
}

func widgetClient(t testing.TB, w *world, namespace string) dynamic.ResourceInterface {
	t.Helper()
	d, err := dynamic.NewForConfig(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	return d.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}).Namespace(namespace)
}

func widget(name string, owners ...metav1.OwnerReference) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Widget", "spec": map[string]any{"size": int64(1)}}}
	u.SetName(name)
	u.SetOwnerReferences(owners)
	return u
}

// eventually waits until check holds.
func eventually(t testing.TB, what string, check func(ctx context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true, check); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func gone(t testing.TB, what string, get func(ctx context.Context) error) {
	t.Helper()
	eventually(t, what+" goes", func(ctx context.Context) (bool, error) { return apierrors.IsNotFound(get(ctx)), nil })
}

func newMap(name string, owners ...metav1.OwnerReference) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owners}}
}

func ownedBy(kind, version, name string, object metav1.Object, blocks bool) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: version, Kind: kind, Name: name, UID: object.GetUID(), BlockOwnerDeletion: &blocks}
}

func TestCollect(t *testing.T) {
	w := begin(t, "", withWidgets)
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		t.Run(string(policy), func(t *testing.T) { collect(t, w, policy) })
	}
}

// collect deletes a widget that owns a map that owns a widget.
func collect(t *testing.T, w *world, policy metav1.DeletionPropagation) {
	client, widgets := w.client(t), widgetClient(t, w, "default")
	owner, err := widgets.Create(t.Context(), widget("owner"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	middle, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), newMap("middle", ownedBy("Widget", "example.com/v1", "owner", owner, true)), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := widgets.Create(t.Context(), widget("leaf", ownedBy("ConfigMap", "v1", "middle", middle, true)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	getMiddle := func(ctx context.Context) error {
		_, err := client.CoreV1().ConfigMaps("default").Get(ctx, "middle", metav1.GetOptions{})
		return err
	}
	get := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := widgets.Get(ctx, name, metav1.GetOptions{})
			return err
		}
	}
	if err := widgets.Delete(t.Context(), "owner", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		t.Fatal(err)
	}
	gone(t, "owner", get("owner"))
	if policy == metav1.DeletePropagationForeground {
		if err := getMiddle(t.Context()); !apierrors.IsNotFound(err) {
			t.Errorf("the owner went before its dependent: %v", err)
		}
	}
	if policy != metav1.DeletePropagationOrphan {
		gone(t, "dependent", getMiddle)
		gone(t, "dependent of dependent", get("leaf"))
		return
	}
	kept, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "middle", metav1.GetOptions{})
	if err != nil || len(kept.OwnerReferences) != 0 {
		t.Errorf("orphan: %v, %v, want it without owners", kept.OwnerReferences, err)
	}
	if err := get("leaf")(t.Context()); err != nil {
		t.Errorf("the orphan's dependent: %v", err)
	}
}

func TestCollectsWhatNeverHadItsOwner(t *testing.T) {
	w := begin(t, "", nil)
	maps := w.client(t).CoreV1().ConfigMaps("default")
	nobody := &metav1.ObjectMeta{UID: "11111111-2222-3333-4444-555555555555"}
	if _, err := maps.Create(t.Context(), newMap("a", ownedBy("ConfigMap", "v1", "nobody", nobody, false)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(t, "object with an owner that does not exist", func(ctx context.Context) error {
		_, err := maps.Get(ctx, "a", metav1.GetOptions{})
		return err
	})
}

func TestKeepsWhatHasAnotherOwner(t *testing.T) {
	w := begin(t, "", nil)
	maps := w.client(t).CoreV1().ConfigMaps("default")
	var owners []metav1.OwnerReference
	for _, name := range []string{"one", "two"} {
		o, err := maps.Create(t.Context(), newMap(name), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		owners = append(owners, ownedBy("ConfigMap", "v1", name, o, false))
	}
	if _, err := maps.Create(t.Context(), newMap("child", owners...), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the owner that went is taken out", func(ctx context.Context) (bool, error) {
		child, err := maps.Get(ctx, "child", metav1.GetOptions{})
		return err == nil && len(child.OwnerReferences) == 1 && child.OwnerReferences[0].Name == "two", err
	})
}

func TestNamespace(t *testing.T) {
	w := begin(t, "", withWidgets)
	client := w.client(t)
	_, err := client.CoreV1().ConfigMaps("nowhere").Create(t.Context(), newMap("a"), metav1.CreateOptions{})
	if err == nil || err.Error() != `namespaces "nowhere" not found` {
		t.Errorf("object in a namespace that is not there: %v", err)
	}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the default account is made", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().ServiceAccounts("team").Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
	fillNamespace(t, w, client, "team")
	if err := client.CoreV1().Namespaces().Delete(t.Context(), "team", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().ConfigMaps("team").Create(t.Context(), newMap("late"), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "being terminated") && !apierrors.IsNotFound(err) {
		t.Errorf("object in a namespace that goes: %v", err)
	}
	gone(t, "namespace", func(ctx context.Context) error {
		_, err := client.CoreV1().Namespaces().Get(ctx, "team", metav1.GetOptions{})
		return err
	})
	if left, err := widgetClient(t, w, "team").List(t.Context(), metav1.ListOptions{}); err != nil || len(left.Items) > 0 {
		t.Errorf("left in the namespace: %v, %v", left, err)
	}
	if err := client.CoreV1().Namespaces().Delete(t.Context(), "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("deleting default: %v, want forbidden", err)
	}
}

func fillNamespace(t *testing.T, w *world, client kubernetes.Interface, namespace string) {
	t.Helper()
	if _, err := client.CoreV1().ConfigMaps(namespace).Create(t.Context(), newMap("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := widgetClient(t, w, namespace).Create(t.Context(), widget("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}, InvolvedObject: corev1.ObjectReference{Kind: "ConfigMap", Name: "a", Namespace: namespace}, Reason: "R", Message: "m"}
	if _, err := client.CoreV1().Events(namespace).Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
