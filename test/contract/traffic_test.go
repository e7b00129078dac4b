package contract_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	netclient "knative.dev/networking/pkg/client/clientset/versioned"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/apis/serving/v1beta1"
)

var trafficPromises = []promise{
	{"an update fails no request", holdsUpdate},
	{"traffic is split by percent, and a tag has a URL of its own", holdsSplit},
	{"Knative-Serving-Tag routes by tag where the feature is on", holdsTagHeader},
	{"traffic to a revision that is not there is told as RevisionMissing", holdsMissingTarget},
	{"a DomainMapping serves a domain, a second one conflicts, and its deletion frees the name", holdsDomain},
}

func holdsUpdate(t *testing.T, h *house) {
	h.ready(t, h.service("updated"))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var prober sync.WaitGroup
	var asked int
	var failed error
	prober.Go(func() {
		for ctx.Err() == nil && failed == nil {
			asked++
			if status, body, err := h.send(context.WithoutCancel(ctx), h.host("updated"), "/"); err != nil || status != http.StatusOK {
				failed = fmt.Errorf("%d %q %w", status, body, err)
			}
		}
	})
	for i := range 3 {
		h.settled(t, h.patch(t, "updated", fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"example.com/turn":"%d"}}}}}`, i)))
	}
	stop()
	prober.Wait()
	if failed != nil || asked == 0 {
		t.Errorf("of %d requests one failed: %v", asked, failed)
	}
}

// twoRevisions makes a Service with the revisions NAME-first and NAME-second, which answer with "first" and "second".
func (h *house) twoRevisions(t *testing.T, name string, traffic ...v1.TrafficTarget) {
	t.Helper()
	set := func(word string) func(*v1.Service) {
		return func(s *v1.Service) {
			s.Spec.Template.Name = name + "-" + word
			s.Spec.Template.Spec.Containers[0].Env[0].Value = word
		}
	}
	h.ready(t, h.service(name, set("first")))
	change := h.service(name, set("second"))
	change.Spec.Traffic = traffic
	eventually(t, "the second revision", func(ctx context.Context) error {
		now, err := h.Serving.ServingV1().Services("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now.Spec = change.Spec
		change, err = h.Serving.ServingV1().Services("default").Update(ctx, now, metav1.UpdateOptions{})
		if err != nil {
			change = h.service(name, set("second"))
			change.Spec.Traffic = traffic
		}
		return err
	})
	h.settled(t, change)
}

func holdsSplit(t *testing.T, h *house) {
	h.twoRevisions(t, "parted",
		v1.TrafficTarget{RevisionName: "parted-first", Percent: pointer(int64(60)), Tag: "old"},
		v1.TrafficTarget{RevisionName: "parted-second", Percent: pointer(int64(40)), Tag: "new"},
	)
	for tag, want := range map[string]string{"old": "first", "new": "second"} {
		if got := h.ask(t, tag+"-parted", "/"); got != want {
			t.Errorf("tag %s answered %q", tag, got)
		}
	}
	count := map[string]int{}
	for range 200 {
		count[h.ask(t, "parted", "/")]++
	}
	if count["first"] < 80 || count["second"] < 50 || count["first"]+count["second"] != 200 {
		t.Errorf("of 200 requests %v, want about 120 and 80", count)
	}
}

func holdsTagHeader(t *testing.T, h *house) {
	patch := []byte(`{"data":{"tag-header-based-routing":"enabled"}}`)
	if _, err := h.Kube.CoreV1().ConfigMaps("knative-serving").Patch(t.Context(), "config-features", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	h.twoRevisions(t, "tagged",
		v1.TrafficTarget{RevisionName: "tagged-second", Percent: pointer(int64(100))},
		v1.TrafficTarget{RevisionName: "tagged-first", Tag: "old"},
	)
	eventually(t, "the header routes", func(ctx context.Context) error {
		status, body, err := h.send(ctx, h.host("tagged"), "/", func(r *http.Request) { r.Header.Set("Knative-Serving-Tag", "old") })
		if err == nil && (status != http.StatusOK || body != "first") {
			err = fmt.Errorf("%d %q", status, body)
		}
		return err
	})
}

func holdsMissingTarget(t *testing.T, h *house) {
	h.ready(t, h.service("misled"))
	h.patch(t, "misled", `{"spec":{"traffic":[{"revisionName":"misled-nowhere","percent":100}]}}`)
	h.until(t, "misled", func(s *v1.Service) error {
		if c := s.Status.GetCondition(v1.ServiceConditionRoutesReady); !c.IsFalse() || c.Reason != "RevisionMissing" {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if got := h.ask(t, "misled", "/"); got != "misled" {
		t.Errorf("meanwhile the old routes answer %q", got)
	}
}

func holdsDomain(t *testing.T, h *house) {
	h.ready(t, h.service("mapped"))
	const domain = "mapped.example.org"
	claim := &netv1alpha1.ClusterDomainClaim{ObjectMeta: metav1.ObjectMeta{Name: domain}, Spec: netv1alpha1.ClusterDomainClaimSpec{Namespace: "default"}}
	claims := netclient.NewForConfigOrDie(h.REST).NetworkingV1alpha1().ClusterDomainClaims()
	if _, err := claims.Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	mapping := func(namespace string) {
		t.Helper()
		m := &v1beta1.DomainMapping{ObjectMeta: metav1.ObjectMeta{Name: domain}}
		m.Spec.Ref = duckv1.KReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: "mapped", Namespace: namespace}
		if _, err := h.Serving.ServingV1beta1().DomainMappings(namespace).Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mapping("default")
	answers := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprint("the domain answers ", want), func(ctx context.Context) error {
			status, _, err := h.send(ctx, domain, "/")
			if err == nil && status != want {
				err = fmt.Errorf("%d", status)
			}
			return err
		})
	}
	answers(http.StatusOK)
	mapping("elsewhere")
	eventually(t, "the second one conflicts", func(ctx context.Context) error {
		m, err := h.Serving.ServingV1beta1().DomainMappings("elsewhere").Get(ctx, domain, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := m.Status.GetCondition(v1beta1.DomainMappingConditionDomainClaimed); !c.IsFalse() {
			return fmt.Errorf("%+v", m.Status.Conditions)
		}
		return nil
	})
	if err := h.Serving.ServingV1beta1().DomainMappings("default").Delete(t.Context(), domain, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	answers(http.StatusNotFound)
}
