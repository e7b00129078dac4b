package contract_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

var requestPromises = []promise{
	{"Forwarded, X-Forwarded-For, X-Forwarded-Proto and traceparent are set, all other headers pass", holdsHeaders},
	{"a network probe of a host is answered with the hash of its routes", holdsNetworkProbe},
	{"a port named h2c is spoken to in HTTP/2 without TLS", holdsH2C},
	{"no first byte within timeoutSeconds is 504", holdsTimeout},
	{"a first byte in time and the whole later is 200", holdsLateWhole},
	{"responseStartTimeoutSeconds bounds the first byte alone", holdsStartTimeout},
	{"containerConcurrency 1 means that the program never sees two requests, and none fails while it waits", holdsConcurrency},
	{"services reach each other by four names, cluster-local ones are not found from outside", holdsNames},
	{"a request is logged by the template of config-observability", holdsRequestLog},
}

func holdsHeaders(t *testing.T, h *house) {
	h.ready(t, h.service("headed"))
	const sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	status, body, err := h.send(t.Context(), h.host("headed"), "/headers", func(r *http.Request) {
		r.Header.Set("X-Of-Mine", "passes")
		r.Header.Set("Traceparent", sent)
	})
	if err != nil || status != http.StatusOK {
		t.Fatalf("%d %v", status, err)
	}
	got := http.Header{}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Get("Host") != h.host("headed") || got.Get("X-Of-Mine") != "passes" || got.Get("X-Forwarded-Proto") != "http" || got.Get("X-Forwarded-For") == "" {
		t.Errorf("headers %v", got)
	}
	if f := got.Get("Forwarded"); !strings.Contains(f, "for=") || !strings.Contains(f, "proto=http") {
		t.Errorf("Forwarded %q", f)
	}
	// The same trace, a span of the gateway's own or the caller's.
	if p := got.Get("Traceparent"); !strings.HasPrefix(p, sent[:36]) {
		t.Errorf("traceparent %q, want one of trace %s", p, sent[3:35])
	}
	if _, body, err = h.send(t.Context(), h.host("headed"), "/headers"); err != nil || !strings.Contains(body, "Traceparent") {
		t.Errorf("without one: %s %v", body, err)
	}
}

func holdsNetworkProbe(t *testing.T, h *house) {
	h.ready(t, h.service("probed"))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.host("probed")+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("K-Network-Probe", "probe")
	response, err := h.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("K-Network-Hash") == "" {
		t.Errorf("%s, headers %v", response.Status, response.Header)
	}
}

func holdsH2C(t *testing.T, h *house) {
	h.ready(t, h.service("spoken-h2c", container(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{Name: "h2c", ContainerPort: 8080}} })))
	if got := h.ask(t, "spoken-h2c", "/proto"); got != "HTTP/2.0" {
		t.Errorf("the program was asked in %s", got)
	}
	h.ready(t, h.service("spoken-h1"))
	if got := h.ask(t, "spoken-h1", "/proto"); got != "HTTP/1.1" {
		t.Errorf("the program was asked in %s", got)
	}
}

func timeout(seconds int64) func(*v1.Service) {
	return func(s *v1.Service) { s.Spec.Template.Spec.TimeoutSeconds = &seconds }
}

func holdsTimeout(t *testing.T, h *house) {
	h.ready(t, h.service("late", timeout(2)))
	if status, body, err := h.send(t.Context(), h.host("late"), "/slow?first=20s"); err != nil || status != http.StatusGatewayTimeout {
		t.Errorf("%d %q %v, want 504", status, body, err)
	}
}

func holdsLateWhole(t *testing.T, h *house) {
	h.ready(t, h.service("begun", timeout(5)))
	if got := h.ask(t, "begun", "/slow?then=6s"); got != "begun done" {
		t.Errorf("got %q", got)
	}
}

func holdsStartTimeout(t *testing.T, h *house) {
	h.ready(t, h.service("starting", timeout(30), func(s *v1.Service) { s.Spec.Template.Spec.ResponseStartTimeoutSeconds = pointer(int64(5)) }))
	if status, body, err := h.send(t.Context(), h.host("starting"), "/slow?first=20s"); err != nil || status != http.StatusGatewayTimeout {
		t.Errorf("%d %q %v, want 504", status, body, err)
	}
	if got := h.ask(t, "starting", "/slow?then=6s"); got != "begun done" {
		t.Errorf("got %q", got)
	}
}

func holdsConcurrency(t *testing.T, h *house) {
	h.ready(t, h.service("single", annotated("autoscaling.knative.dev/max-scale", "1"), func(s *v1.Service) { s.Spec.Template.Spec.ContainerConcurrency = pointer(int64(1)) }))
	var askers sync.WaitGroup
	for range 5 {
		askers.Go(func() {
			for range 10 {
				if status, body, err := h.send(t.Context(), h.host("single"), "/slow?first=20ms"); err != nil || status != http.StatusOK {
					t.Errorf("%d %q %v", status, body, err)
				}
			}
		})
	}
	askers.Wait()
	if most := h.ask(t, "single", "/most"); most != "1" {
		t.Errorf("the program saw %s requests at once", most)
	}
}

func holdsNames(t *testing.T, h *house) {
	s := h.service("callee")
	s.Labels = map[string]string{"networking.knative.dev/visibility": "cluster-local"}
	h.ready(t, s)
	h.ready(t, h.service("caller"))
	for _, name := range []string{"callee.default.svc.cluster.local", "callee.default.svc", "callee.default", "callee"} {
		if got := h.ask(t, "caller", "/call?url=http://"+name+"/"); got != "callee" {
			t.Errorf("%s answered %q", name, got)
		}
	}
	for _, name := range []string{"callee.default.svc.cluster.local", h.host("callee")} {
		if status, _, err := h.send(t.Context(), name, "/"); err != nil || status != http.StatusNotFound {
			t.Errorf("%s from outside: %d %v, want 404", name, status, err)
		}
	}
}

func holdsRequestLog(t *testing.T, h *house) {
	patch := []byte(`{"data":{"logging.enable-request-log":"true","logging.request-log-template":"{\"path\":\"{{.Request.URL.Path}}\",\"status\":{{.Response.Code}}}"}}`)
	if _, err := h.Kube.CoreV1().ConfigMaps("knative-serving").Patch(t.Context(), "config-observability", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	h.ready(t, h.service("logged", annotated("autoscaling.knative.dev/min-scale", "1")))
	eventually(t, "the line", func(ctx context.Context) error {
		if status, _, err := h.send(ctx, h.host("logged"), "/of-the-log"); err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %w", status, err)
		}
		pod := h.pod(t, "logged-00001", "")
		log, err := h.Kube.CoreV1().Pods("default").GetLogs(pod.Name, &corev1.PodLogOptions{Container: "queue-proxy"}).DoRaw(ctx)
		if err == nil && !strings.Contains(string(log), `{"path":"/of-the-log","status":200}`) {
			err = fmt.Errorf("%s", log)
		}
		return err
	})
}
