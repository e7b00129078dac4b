package api_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/store"
)

// world is a store and a server in one folder.
type world struct {
	*api.Server
	home string
	stop func()
}

func begin(t testing.TB, home string, change func(*api.Config)) *world {
	t.Helper()
	if home == "" {
		home = t.TempDir()
	}
	s, err := store.New(store.Config{Dir: filepath.Join(home, "store")})
	if err != nil {
		t.Fatal(err)
	}
	cfg := api.Config{Dir: filepath.Join(home, "api"), Etcd: s.Endpoint(), Listen: "127.0.0.1:0", Kubeconfig: filepath.Join(home, "kubeconfig")}
	if change != nil {
		change(&cfg)
	}
	server, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stopStore := run(t, s.Run)
	began := time.Now()
	stopServer := run(t, server.Run)
	t.Logf("api ready after %s", time.Since(began))
	w := &world{Server: server, home: home, stop: func() { stopServer(); stopStore() }}
	t.Cleanup(w.stop)
	return w
}

// run starts a component and waits until it is ready.
func run(t testing.TB, component func(context.Context, func()) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- component(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("run: %v", err)
	case <-time.After(90 * time.Second):
		cancel()
		t.Fatal("not ready in time")
	}
	stopped := false
	return func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	}
}

func (w *world) admin(t testing.TB) *rest.Config {
	t.Helper()
	c, err := clientcmd.BuildConfigFromFlags("", filepath.Join(w.home, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	c.QPS = -1
	return c
}

func (w *world) client(t testing.TB) *kubernetes.Clientset {
	t.Helper()
	c := w.admin(t)
	c.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func widgets() *apiextensionsv1.CustomResourceDefinition {
	preserve := true
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com",
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList", ShortNames: []string{"wd"}},
			Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"spec": {Type: "object", XPreserveUnknownFields: &preserve, Properties: map[string]apiextensionsv1.JSONSchemaProps{
							"size": {Type: "integer", Minimum: new(float64)},
						}},
						"status": {Type: "object", XPreserveUnknownFields: &preserve},
					},
				}},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			}},
		},
	}
}

func TestConfigMap(t *testing.T) {
	w := begin(t, "", func(c *api.Config) { c.Definitions = []*apiextensionsv1.CustomResourceDefinition{widgets()} })
	client := w.client(t)
	made, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil || got.Data["k"] != "v" || got.UID != made.UID {
		t.Fatalf("got %v, %v", got, err)
	}
}

func TestPlainHTTP(t *testing.T) {
	w := begin(t, "", func(c *api.Config) { c.Insecure = true })
	if !strings.HasPrefix(w.URL(), "http://127.0.0.1:") {
		t.Errorf("URL %s", w.URL())
	}
	if _, err := w.client(t).CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	page, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL()+"/api/v1/namespaces", nil)
	if err != nil {
		t.Fatal(err)
	}
	page.Header.Set("Origin", "http://example.com")
	answer, err := http.DefaultClient.Do(page)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a web page got %d", answer.StatusCode)
	}
	_, err = api.New(api.Config{Dir: t.TempDir(), Etcd: "unix:///nowhere", Listen: "0.0.0.0:0", Insecure: true})
	if err == nil || !strings.Contains(err.Error(), "loopback only") {
		t.Errorf("plain HTTP for everybody: %v", err)
	}
}

func TestBusyPort(t *testing.T) {
	w := begin(t, "", nil)
	_, err := api.New(api.Config{Dir: t.TempDir(), Etcd: "unix:///nowhere", Listen: w.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), w.Addr().String()) || !strings.Contains(err.Error(), "--api-listen") {
		t.Errorf("busy port: %v", err)
	}
}

// TestCertificateStays wants the same certificate over restarts, and a new one when a name is added.
func TestCertificateStays(t *testing.T) {
	dir := t.TempDir()
	ca := func(names ...string) string {
		s, err := api.New(api.Config{Dir: dir, Etcd: "unix:///nowhere", Listen: "127.0.0.1:0", Names: names})
		if err != nil {
			t.Fatal(err)
		}
		return string(s.CA())
	}
	first := ca()
	if ca() != first {
		t.Error("another certificate after a restart")
	}
	if ca("example.com") == first {
		t.Error("the same certificate for another name")
	}
}
