// Package contract_test holds the real binary to what a Knative client may rely on. Each promise is a sentence with the test that
// holds it, through the API and the gateway, with instances of real images; docs/reference/contract.md is made from the same list
// (`go test ./test/contract -update`).
package contract_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

var update = flag.Bool("update", false, "write docs/reference/contract.md")

// patience bounds every wait; CI machines are slow.
const patience = 2 * time.Minute

// promise is one thing that a client may rely on.
type promise struct {
	says  string
	holds func(*testing.T, *house)
}

// chapter is a group of promises.
type chapter struct {
	title    string
	promises []promise
}

var chapters = []chapter{
	{"How a client reaches it", clientPromises},
	{"Kinds and verbs", kindPromises},
	{"Objects, word for word", objectPromises},
	{"What the program finds", surroundingsPromises},
	{"Files and volumes", filePromises},
	{"Requests", requestPromises},
	{"The life of an instance", lifePromises},
	{"Traffic", trafficPromises},
}

// house is a whole Fairlead with the test program's image.
type house struct {
	*realdaemon.Host
	image  string
	client *http.Client
}

var fairlead realdaemon.Program

func TestMain(m *testing.M) { os.Exit(fairlead.Run(m)) }

func TestContract(t *testing.T) {
	h := newHouse(t)
	for _, c := range chapters {
		for _, p := range c.promises {
			t.Run(strings.ReplaceAll(p.says, "/", "|"), func(t *testing.T) {
				t.Parallel()
				p.holds(t, h)
			})
		}
	}
}

func newHouse(t *testing.T) *house {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for sandboxes")
	}
	_, crun := exec.LookPath("crun")
	_, runc := exec.LookPath("runc")
	if crun != nil && runc != nil {
		t.Skip("needs crun or runc")
	}
	dir, err := os.MkdirTemp("", "contract")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	binary, err := fairlead.Binary()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{Host: realdaemon.New(binary, filepath.Join(dir, "home"))}
	if err := os.Mkdir(h.Home, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Start(ctx); err != nil {
		t.Fatalf("%v\n%s", err, h.Logged())
	}
	t.Cleanup(func() {
		if err := h.End(syscall.SIGTERM); err != nil || t.Failed() {
			t.Errorf("%v\n%s", err, h.Logged())
		}
	})
	h.client = h.Client()
	if h.image, err = h.Build(ctx, "testdata/app"); err != nil {
		t.Fatal(err)
	}
	return h
}

// service is a Service of the test program.
func (h *house) service(name string, change ...func(*v1.Service)) *v1.Service {
	s := &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	s.Spec.Template.Spec.Containers = []corev1.Container{{Image: h.image, Env: []corev1.EnvVar{{Name: "ANSWER", Value: name}}}}
	for _, c := range change {
		c(s)
	}
	return s
}

// container changes the first container of a Service.
func container(change func(*corev1.Container)) func(*v1.Service) {
	return func(s *v1.Service) { change(&s.Spec.Template.Spec.Containers[0]) }
}

func annotated(name, value string) func(*v1.Service) {
	return func(s *v1.Service) { metav1.SetMetaDataAnnotation(&s.Spec.Template.ObjectMeta, name, value) }
}

func (h *house) create(t *testing.T, s *v1.Service) *v1.Service {
	t.Helper()
	made, err := h.Serving.ServingV1().Services(s.Namespace).Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// ready creates a Service and waits until it is ready.
func (h *house) ready(t *testing.T, s *v1.Service) *v1.Service {
	t.Helper()
	return h.settled(t, h.create(t, s))
}

// settled waits until what a Service asks for is in force.
func (h *house) settled(t *testing.T, s *v1.Service) *v1.Service {
	t.Helper()
	return h.until(t, s.Name, func(now *v1.Service) error {
		if now.Generation < s.Generation || now.Status.ObservedGeneration != now.Generation || !now.IsReady() {
			return fmt.Errorf("generation %d, observed %d, conditions %+v", now.Generation, now.Status.ObservedGeneration, now.Status.Conditions)
		}
		return nil
	})
}

// until waits until a Service is as wanted.
func (h *house) until(t *testing.T, name string, check func(*v1.Service) error) *v1.Service {
	t.Helper()
	var service *v1.Service
	eventually(t, "service "+name, func(ctx context.Context) (err error) {
		if service, err = h.Serving.ServingV1().Services("default").Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		return check(service)
	})
	return service
}

// patch applies a JSON merge patch to a Service.
func (h *house) patch(t *testing.T, name, patch string) *v1.Service {
	t.Helper()
	s, err := h.Serving.ServingV1().Services("default").Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *house) revision(t *testing.T, name string) *v1.Revision {
	t.Helper()
	r, err := h.Serving.ServingV1().Revisions("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// host is the name by which the gateway knows a service.
func (h *house) host(service string) string { return service + ".default." + h.Info.Domain }

// send sends a request for a host to the gateway.
func (h *house) send(ctx context.Context, host, path string, change ...func(*http.Request)) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return 0, "", err
	}
	for _, c := range change {
		c(request)
	}
	response, err := h.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// ask sends a request to a service, which has to answer with 200.
func (h *house) ask(t *testing.T, service, path string) string {
	t.Helper()
	status, body, err := h.send(t.Context(), h.host(service), path)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s%s: %d %q %v, want 200", service, path, status, body, err)
	}
	return body
}

func eventually(t *testing.T, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}

// TestReference holds docs/reference/contract.md to the list.
func TestReference(t *testing.T) {
	var page strings.Builder
	page.WriteString(`# What a Knative client may rely on

Each line is a test of the same name in test/contract, which runs it against the real binary with instances of real images, in addition to
the [public conformance suites](conformance.md). This page is made from the tests.
`)
	for _, c := range chapters {
		fmt.Fprintf(&page, "\n## %s\n\n", c.title)
		for _, p := range c.promises {
			fmt.Fprintf(&page, "- %s\n", p.says)
		}
	}
	const file = "../../docs/reference/contract.md"
	if *update {
		if err := os.WriteFile(file, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != page.String() {
		t.Errorf("%s is not what the tests say (%v); go test ./test/contract -run Reference -update", file, err)
	}
}
