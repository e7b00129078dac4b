package controller_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	netclient "knative.dev/networking/pkg/client/clientset/versioned"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/apis/serving/v1beta1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"github.com/fairlead-dev/fairlead/internal/daemon"
	"github.com/fairlead-dev/fairlead/internal/daemon/daemontest"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain())
	}
	os.Exit(m.Run())
}

// bound is how long anything in these tests may take on a busy machine.
const bound = 60 * time.Second

// house is a whole Fairlead with the test program in its registry.
type house struct {
	*daemontest.Daemon
	kube    kubernetes.Interface
	serving servingclient.Interface
	image   string
}

func newHouse(t *testing.T, change ...func(*daemon.Settings)) *house {
	t.Helper()
	home, err := os.MkdirTemp("", "fairlead")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) }) //nolint:errcheck // a folder for temporary files
	return newHouseIn(t, home, change...)
}

func newHouseIn(t *testing.T, home string, change ...func(*daemon.Settings)) *house {
	t.Helper()
	if testing.Short() {
		t.Skip("runs instances")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for sandboxes")
	}
	if _, err := exec.LookPath("crun"); err != nil {
		if _, err := exec.LookPath("runc"); err != nil {
			t.Skip("needs crun or runc")
		}
	}
	h := &house{Daemon: daemontest.StartIn(t, home, append(change, func(s *daemon.Settings) { s.LogLevel = "info" })...)}
	config := h.RESTConfig(t)
	h.kube, h.serving = kubernetes.NewForConfigOrDie(config), servingclient.NewForConfigOrDie(config)
	h.image = h.push(t)
	return h
}

// push compiles testdata/app and puts it into the registry.
func (h *house) push(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "app")
	build := exec.Command("go", "build", "-o", binary, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("compiling the test program: %v\n%s", err, out)
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file.OS, file.Architecture, file.Config.Entrypoint = "linux", "amd64", []string{"/app"}
	if image, err = mutate.ConfigFile(image, file); err != nil {
		t.Fatal(err)
	}
	reference := h.Addresses().Registry + "/test/app"
	if err := crane.Push(image, reference, crane.Insecure); err != nil {
		t.Fatal(err)
	}
	return reference
}

// service is a Service of the test program that answers with a word.
func (h *house) service(name, answer string, change ...func(*v1.Service)) *v1.Service {
	service := &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	service.Spec.Template.Spec.Containers = []corev1.Container{{
		Image: h.image, Env: []corev1.EnvVar{{Name: "ANSWER", Value: answer}},
	}}
	for _, c := range change {
		c(service)
	}
	return service
}

func annotated(name, value string) func(*v1.Service) {
	return func(s *v1.Service) { metav1.SetMetaDataAnnotation(&s.Spec.Template.ObjectMeta, name, value) }
}

func (h *house) create(t *testing.T, service *v1.Service) *v1.Service {
	t.Helper()
	made, err := h.serving.ServingV1().Services(service.Namespace).Create(t.Context(), service, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// ready creates a Service and waits until it is ready.
func (h *house) ready(t *testing.T, service *v1.Service) *v1.Service {
	t.Helper()
	h.create(t, service)
	return h.waitReady(t, service.Name, "")
}

// waitReady waits until a Service is ready, with this revision where one is named.
func (h *house) waitReady(t *testing.T, name, revision string) *v1.Service {
	t.Helper()
	var service *v1.Service
	eventually(t, "service "+name+" is ready", func(ctx context.Context) error {
		var err error
		service, err = h.serving.ServingV1().Services("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !service.IsReady() || revision != "" && service.Status.LatestReadyRevisionName != revision {
			return fmt.Errorf("latest ready %q, conditions %+v", service.Status.LatestReadyRevisionName, service.Status.Conditions)
		}
		return nil
	})
	return service
}

// update changes a Service, again where somebody else was faster.
func (h *house) update(t *testing.T, name string, change func(*v1.Service)) {
	t.Helper()
	eventually(t, "update of "+name, func(ctx context.Context) error {
		service, err := h.serving.ServingV1().Services("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(service)
		_, err = h.serving.ServingV1().Services("default").Update(ctx, service, metav1.UpdateOptions{})
		return err
	})
}

// mapDomain lets a domain stand for a Service, and waits until it does.
func (h *house) mapDomain(t *testing.T, domain, service string) {
	t.Helper()
	claim := &netv1alpha1.ClusterDomainClaim{ObjectMeta: metav1.ObjectMeta{Name: domain}, Spec: netv1alpha1.ClusterDomainClaimSpec{Namespace: "default"}}
	claims := netclient.NewForConfigOrDie(h.RESTConfig(t)).NetworkingV1alpha1().ClusterDomainClaims()
	if _, err := claims.Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	mapping := &v1beta1.DomainMapping{ObjectMeta: metav1.ObjectMeta{Name: domain, Namespace: "default"}}
	mapping.Spec.Ref = duckv1.KReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: service}
	mappings := h.serving.ServingV1beta1().DomainMappings("default")
	if _, err := mappings.Create(t.Context(), mapping, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "domain mapping "+domain+" is ready", func(ctx context.Context) error {
		got, err := mappings.Get(ctx, domain, metav1.GetOptions{})
		if err == nil && !got.IsReady() {
			err = fmt.Errorf("conditions %+v", got.Status.Conditions)
		}
		return err
	})
}

// get asks the gateway for a path of a host.
func (h *house) get(ctx context.Context, host, path string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, bound/2)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.Addresses().Gateway+path, nil)
	if err != nil {
		return 0, "", err
	}
	request.Host = host
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(bytes.TrimSpace(body)), err
}

func (h *house) expect(t *testing.T, host, path, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if status, body, err := h.get(ctx, host, path); err != nil || status != http.StatusOK || body != want {
		t.Fatalf("GET %s%s: %d %q %v, want 200 %q", host, path, status, body, err, want)
	}
}

func host(name string) string { return name + ".default.localhost" }

// condition gives a condition of a service.
func condition(s *v1.Service, kind apis.ConditionType) *apis.Condition {
	return s.Status.GetCondition(kind)
}

// eventually waits until f succeeds.
func eventually(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}
