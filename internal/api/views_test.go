package api_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/api"
)

// askedViews notes what it is asked for, and what of that is still looked at.
type askedViews struct {
	mu    sync.Mutex
	asked []string
	open  int
	done  chan struct{}
}

func (a *askedViews) Show(_ context.Context, q api.ViewQuery) func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open++
	a.asked = append(a.asked, q.Namespace+"/"+q.Name+"?"+q.Selector.String())
	return func() {
		a.mu.Lock()
		a.open--
		a.mu.Unlock()
		a.done <- struct{}{}
	}
}

// TestViewsAreAskedFor holds which requests have views written first: those for kinds that may be views, of anybody but this process.
func TestViewsAreAskedFor(t *testing.T) {
	views := &askedViews{done: make(chan struct{}, 100)}
	w := begin(t, "", func(c *api.Config) { c.Views = views })
	client, ctx := w.client(t), t.Context()
	inside, err := kubernetes.NewForConfig(w.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inside.CoreV1().Services("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := as(t, w, "").CoreV1().Services("default").List(ctx, metav1.ListOptions{}); err == nil {
		t.Error("nobody lists services")
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	if _, err := client.CoreV1().Services("default").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Services("default").Get(ctx, "s", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AppsV1().Deployments("").List(ctx, metav1.ListOptions{LabelSelector: "a=b"}); err != nil {
		t.Fatal(err)
	}
	changes, err := client.DiscoveryV1().EndpointSlices("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=s"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		<-views.done
	}
	views.mu.Lock()
	if want := []string{"default/s?", "/?a=b", "default/s?"}; !slices.Equal(views.asked, want) || views.open != 1 {
		t.Errorf("asked for %q, %d open; want %q and the watch open", views.asked, views.open, want)
	}
	views.mu.Unlock()
	changes.Stop()
	<-views.done
}
