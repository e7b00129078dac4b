package quota

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// list reads "cpu=1 memory=2Gi".
func list(text string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for part := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(part, "=")
		out[corev1.ResourceName(name)] = resource.MustParse(value)
	}
	return out
}

func quotaOf(name, hard string, scopes ...corev1.ResourceQuotaScope) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name), ResourceVersion: "1"},
		Spec:       corev1.ResourceQuotaSpec{Hard: list(hard), Scopes: scopes},
	}
}

// container has requests and limits; "" is none.
func container(name, requests, limits string) corev1.Container {
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)}}
}

func podOf(containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: containers}}
}

func podsResource() schema.GroupResource { return schema.GroupResource{Resource: "pods"} }

func instance(name string) Object {
	return Object{Namespace: "n", Resource: podsResource(), Name: name, UID: types.UID(name), Instance: true}
}

func used(l *Ledger, quota string) string {
	status := l.Status("n")[quota]
	var parts []string
	for _, name := range strings.Fields("pods cpu memory limits.cpu services configmaps count/pods count/widgets.example.com") {
		if q, ok := status.Used[corev1.ResourceName(name)]; ok {
			parts = append(parts, name+"="+q.String())
		}
	}
	return strings.Join(parts, " ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func TestTexts(t *testing.T) {
	l := New()
	l.SetQuota(quotaOf("small", "cpu=50m pods=3 limits.cpu=2"))
	small := OfPod(podOf(container("a", "cpu=200m", "cpu=500m")), "")
	err := l.Take(instance("x-1"), small, nil)
	want(t, "too much", fmt.Sprint(err), `pods "x-1" is forbidden: exceeded quota: small, requested: cpu=200m, used: cpu=0, limited: cpu=50m`)
	err = l.Take(instance("x-2"), OfPod(podOf(container("a", "", ""), container("b", "cpu=1m", ""), container("queue-proxy", "", "")), "queue-proxy"), nil)
	want(t, "says nothing", fmt.Sprint(err), `pods "x-2" is forbidden: failed quota: small: must specify cpu for: a; limits.cpu for: a,b`)
	err = l.Take(instance("x-2"), OfPod(podOf(container("a", "", "cpu=1")), ""), nil)
	want(t, "limits stand in", fmt.Sprint(err), `pods "x-2" is forbidden: exceeded quota: small, requested: cpu=1, used: cpu=0, limited: cpu=50m`)
	if err := l.Take(instance("x-3"), OfPod(podOf(container("a", "cpu=30m", "cpu=1")), ""), nil); err != nil {
		t.Error(err)
	}
	err = l.Take(instance("x-4"), OfPod(podOf(container("a", "cpu=30m", "cpu=1500m")), ""), nil)
	want(t, "two at once", fmt.Sprint(err), `pods "x-4" is forbidden: exceeded quota: small, requested: cpu=30m,limits.cpu=1500m, used: cpu=30m,limits.cpu=1, limited: cpu=50m,limits.cpu=2`)
	want(t, "used", used(l, "small"), "pods=1 cpu=30m limits.cpu=1")
	pod := instance("x-3")
	pod.Instance = false
	l.Drop(pod) // deleted, while the instance still finishes
	want(t, "used by what leaves", used(l, "small"), "pods=1 cpu=30m limits.cpu=1")
	l.Drop(instance("x-3"))
	l.Drop(instance("x-3"))
	want(t, "used after", used(l, "small"), "pods=0 cpu=0 limits.cpu=0")
}

func TestScopes(t *testing.T) {
	seconds := int64(5)
	asks, none := podOf(container("a", "cpu=1", "")), podOf(container("a", "", ""))
	ends := podOf(container("a", "cpu=1", ""))
	ends.Spec.ActiveDeadlineSeconds = &seconds
	for scope, fits := range map[corev1.ResourceQuotaScope][3]bool{
		corev1.ResourceQuotaScopeBestEffort:     {false, true, false},
		corev1.ResourceQuotaScopeNotBestEffort:  {true, false, true},
		corev1.ResourceQuotaScopeTerminating:    {false, false, true},
		corev1.ResourceQuotaScopeNotTerminating: {true, true, false},
	} {
		for i, pod := range []*corev1.Pod{asks, none, ends} {
			l := New()
			l.SetQuota(quotaOf("q", "pods=0", scope))
			if refused := l.Take(instance("p"), OfPod(pod, ""), nil) != nil; refused != fits[i] {
				t.Errorf("%s, pod %d: refused %v", scope, i, refused)
			}
		}
	}
}

// TestOtherObjects counts objects from the moment that a quota asks for them, those that were there before too.
func TestOtherObjects(t *testing.T) {
	l := New()
	widgets := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	widget := func(name string) Object {
		return Object{Namespace: "n", Resource: widgets, Name: name, UID: types.UID(name)}
	}
	if err := l.Take(widget("before"), OfCount(widgets), nil); err != nil || l.Tracks("n", widgets) {
		t.Errorf("nobody asks: %v", err)
	}
	fresh := l.SetQuota(quotaOf("q", "count/widgets.example.com=2 services=1 services.nodeports=1"))
	if len(fresh) != 2 || !l.Tracks("n", widgets) || len(l.Unloaded("n")) != 2 {
		t.Errorf("to load: %v", fresh)
	}
	l.Drop(widget("goes")) // while the list is being read in which it still is
	l.Load("n", widgets, map[Object]*Claim{widget("before"): OfCount(widgets), widget("goes"): OfCount(widgets)})
	want(t, "loaded", used(l, "q"), "services=0 count/widgets.example.com=1")
	if err := l.Take(widget("second"), OfCount(widgets), nil); err != nil {
		t.Error(err)
	}
	want(t, "third", fmt.Sprint(l.Take(widget("third"), OfCount(widgets), nil)),
		`widgets.example.com "third" is forbidden: exceeded quota: q, requested: count/widgets.example.com=1, used: count/widgets.example.com=2, limited: count/widgets.example.com=2`)
	if err := l.Take(widget("second"), OfCount(widgets), nil); err != nil {
		t.Errorf("a change that takes no more: %v", err)
	}
	service := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: make([]corev1.ServicePort, 2)}}
	err := l.Check(Object{Namespace: "n", Resource: schema.GroupResource{Resource: "services"}, Name: "s"}, OfService(service), nil)
	want(t, "ports", fmt.Sprint(err), `services "s" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1`)
	l.DropQuota(quotaOf("q", ""))
	if l.Tracks("n", widgets) || len(l.spaces) != 0 {
		t.Errorf("something is left: %+v", l.spaces)
	}
}

func TestChangedQuota(t *testing.T) {
	l := New()
	kick := make(chan struct{}, 1)
	for i := range 3 {
		if err := l.Take(instance(fmt.Sprint(i)), OfPod(podOf(container("a", "", "")), ""), nil); err != nil {
			t.Fatal(err)
		}
	}
	l.SetQuota(quotaOf("q", "pods=3"))
	want(t, "instances of before", used(l, "q"), "pods=3")
	if l.Take(instance("4"), OfPod(podOf(), ""), kick) == nil || len(kick) != 0 {
		t.Error("a fourth instance is taken, or told at once")
	}
	old := quotaOf("q", "pods=9")
	old.ResourceVersion = "0"
	if l.SetQuota(old); len(kick) != 0 {
		t.Error("an older quota is taken for a newer one")
	}
	more := quotaOf("q", "pods=4")
	more.ResourceVersion = "2"
	if l.SetQuota(more); len(kick) != 1 {
		t.Error("who waits is not told of the larger quota")
	}
	if err := l.Take(instance("4"), OfPod(podOf(), ""), kick); err != nil {
		t.Error(err)
	}
	<-l.Changed()
	if dirty := l.Dirty(); len(dirty) != 1 || dirty[0] != "n" || len(l.Dirty()) != 0 {
		t.Errorf("changed: %v", dirty)
	}
}

// TestNeverBeyond takes and gives back at random and adds up what is used again after each step.
func TestNeverBeyond(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l := New()
	l.SetQuota(quotaOf("q", "pods=5 cpu=2"))
	held := map[string]int64{}
	for range 2000 {
		name := fmt.Sprint(random.IntN(12))
		if _, ok := held[name]; ok {
			l.Drop(instance(name))
			delete(held, name)
		} else {
			millis := random.Int64N(900)
			if l.Take(instance(name), OfPod(podOf(container("a", fmt.Sprintf("cpu=%dm", millis), "")), ""), nil) == nil {
				held[name] = millis
			}
		}
		var sum int64
		for _, millis := range held {
			sum += millis
		}
		status := l.Status("n")["q"].Used
		if cpu, pods := status.Cpu().MilliValue(), status.Pods().Value(); cpu != sum || cpu > 2000 || pods != int64(len(held)) || pods > 5 {
			t.Fatalf("used %dm, %d; taken %dm, %d", cpu, pods, sum, len(held))
		}
	}
}

// BenchmarkTake is what a wake pays.
func BenchmarkTake(b *testing.B) {
	l := New()
	l.SetQuota(quotaOf("q", "pods=5 cpu=2 memory=1Gi"))
	claim := OfPod(podOf(container("a", "cpu=100m memory=1Mi", "")), "")
	o := instance("x")
	for b.Loop() {
		if err := l.Take(o, claim, nil); err != nil {
			b.Fatal(err)
		}
		l.Drop(o)
	}
}
