package knative

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestDryRunTriesThePod holds that a dry run, and only that, shows the Pod of the template to the API server.
func TestDryRunTriesThePod(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/api/v1/namespaces/default/pods" || r.URL.Query().Get("dryRun") != "All" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"Pod is invalid: a bad name"}`))
	}))
	defer server.Close()
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		asks   bool
		dryRun bool
		kind   Request
		want   string
	}{
		{"nobody to ask", false, true, create(serviceKind, serviceWith(`{"containers":[{"image":"x"}]}`)), ""},
		{"no dry run", true, false, create(serviceKind, serviceWith(`{"containers":[{"image":"x"}]}`)), ""},
		{
			"service", true, true, create(serviceKind, serviceWith(`{"containers":[{"image":"x"}]}`)),
			`admission webhook "validation.webhook.serving.knative.dev" denied the request: validation callback failed: dry run failed with Pod is invalid: a bad name`,
		},
		{
			"configuration of a service", true, true,
			create(configurationKind, `{"apiVersion":"serving.knative.dev/v1","kind":"Configuration","metadata":{"name":"hello","namespace":"default","labels":{"serving.knative.dev/service":"hello"},"ownerReferences":[{"apiVersion":"serving.knative.dev/v1","kind":"Service","name":"hello","uid":"u"}]},"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}`),
			"",
		},
	} {
		a := newAdmitter(t)
		if c.asks {
			a.Ask(kube)
		}
		asked = 0
		c.kind.DryRun = c.dryRun
		_, err := admit(t, a, c.kind)
		wantRefusal(t, c.what, err, c.want)
		if got := asked > 0; got != (c.want != "") {
			t.Errorf("%s: asked the API server %d times", c.what, asked)
		}
		if err != nil && !strings.Contains(err.Error(), "spec.template") {
			t.Errorf("%s: %v names no field", c.what, err)
		}
	}
}
