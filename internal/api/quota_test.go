package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/quota"
)

func limits(name string, hard map[corev1.ResourceName]string) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
	for k, v := range hard {
		q.Spec.Hard[k] = resource.MustParse(v)
	}
	return q
}

// refused tells whether an error is a 403 with exactly this text.
func refused(t *testing.T, what string, err error, text string) {
	t.Helper()
	if !apierrors.IsForbidden(err) || err.Error() != text {
		t.Errorf("%s: %v\nwant %s", what, err, text)
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func smallPod(name, cpu string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "a:v1"}}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	return p
}

// TestQuota refuses what a quota does not allow, in every way in which an object comes and goes, and keeps the status.
func TestQuota(t *testing.T) {
	w := begin(t, "", nil)
	kube, ctx := w.client(t), t.Context()
	core := kube.CoreV1()
	if _, err := core.ConfigMaps("default").Create(ctx, configMap("before"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	q := limits("few", map[corev1.ResourceName]string{"configmaps": "2", "count/configmaps": "5", "cpu": "1", "pods": "2", "services.nodeports": "1", "requests.storage": "1Gi"})
	if _, err := core.ResourceQuotas("default").Create(ctx, q, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := core.ConfigMaps("default").Create(ctx, configMap("second"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const third = `configmaps "third" is forbidden: exceeded quota: few, requested: configmaps=1, used: configmaps=2, limited: configmaps=2`
	_, err := core.ConfigMaps("default").Create(ctx, configMap("third"), metav1.CreateOptions{})
	refused(t, "third", err, third)
	_, err = core.ConfigMaps("default").Create(ctx, configMap("third"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	refused(t, "third, in a dry run", err, third)
	_, err = core.ConfigMaps("default").Patch(ctx, "third", "application/apply-patch+yaml", []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: third}}"), metav1.PatchOptions{FieldManager: "test"})
	refused(t, "third, applied", err, third)
	if _, err := core.ConfigMaps("default").Create(ctx, configMap("second"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) && !apierrors.IsAlreadyExists(err) {
		t.Errorf("second again: %v", err)
	}
	if err := core.ConfigMaps("default").Delete(ctx, "second", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := core.ConfigMaps("default").Patch(ctx, "third", "application/apply-patch+yaml", []byte("{apiVersion: v1, kind: ConfigMap, metadata: {name: third}}"), metav1.PatchOptions{FieldManager: "test"}); err != nil {
		t.Errorf("third, when there is room: %v", err)
	}
	podsUnderQuota(t, kube)
	othersUnderQuota(t, kube)
	eventually(t, "the status says what is used", func(ctx context.Context) (bool, error) {
		q, err := core.ResourceQuotas("default").Get(ctx, "few", metav1.GetOptions{})
		return fmt.Sprint(used(q)) == "map[configmaps:2 count/configmaps:2 cpu:900m pods:1 requests.storage:512Mi services.nodeports:1]" && len(q.Status.Hard) == 6, err
	})
}

func used(q *corev1.ResourceQuota) map[corev1.ResourceName]string {
	out := map[corev1.ResourceName]string{}
	for k, v := range q.Status.Used {
		out[k] = v.String()
	}
	return out
}

func podsUnderQuota(t *testing.T, kube kubernetes.Interface) {
	t.Helper()
	ctx, pods := t.Context(), kube.CoreV1().Pods("default")
	_, err := pods.Create(ctx, smallPod("mute", ""), metav1.CreateOptions{})
	refused(t, "a pod that does not say", err, `pods "mute" is forbidden: failed quota: few: must specify cpu for: c`)
	one, err := pods.Create(ctx, smallPod("one", "600m"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = pods.Create(ctx, smallPod("two", "900m"), metav1.CreateOptions{})
	refused(t, "too much", err, `pods "two" is forbidden: exceeded quota: few, requested: cpu=900m, used: cpu=600m, limited: cpu=1`)
	one.Status.Phase = corev1.PodSucceeded
	if _, err := pods.UpdateStatus(ctx, one, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err = pods.Create(ctx, smallPod("two", "900m"), metav1.CreateOptions{}); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

func othersUnderQuota(t *testing.T, kube kubernetes.Interface) {
	t.Helper()
	ctx, core := t.Context(), kube.CoreV1()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}}
	made, err := core.Services("default").Create(ctx, service, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Spec.Ports = []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 81}}
	_, err = core.Services("default").Update(ctx, made, metav1.UpdateOptions{})
	refused(t, "another port", err, `services "s" is forbidden: exceeded quota: few, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1`)
	claim := func(name, size string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
		return c
	}
	if _, err := core.PersistentVolumeClaims("default").Create(ctx, claim("a", "512Mi"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = core.PersistentVolumeClaims("default").Create(ctx, claim("b", "1Gi"), metav1.CreateOptions{})
	refused(t, "more storage", err, `persistentvolumeclaims "b" is forbidden: exceeded quota: few, requested: requests.storage=1Gi, used: requests.storage=512Mi, limited: requests.storage=1Gi`)
}

// TestQuotaOfManyWriters has custom resources created by many at once: exactly as many as are allowed are there, also after a restart.
func TestQuotaOfManyWriters(t *testing.T) {
	home := t.TempDir()
	define := func(c *api.Config) { c.Definitions = []*apiextensionsv1.CustomResourceDefinition{widgets()} }
	w := begin(t, home, define)
	d, err := dynamic.NewForConfig(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	objects := d.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}).Namespace("default")
	q := limits("few", map[corev1.ResourceName]string{"count/widgets.example.com": "5"})
	if _, err := w.client(t).CoreV1().ResourceQuotas("default").Create(t.Context(), q, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			_, err := objects.Create(t.Context(), widget(fmt.Sprintf("w%d", i)), metav1.CreateOptions{})
			if err != nil && !apierrors.IsForbidden(err) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	list, err := objects.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 5 {
		t.Fatalf("%d objects with a quota of 5, %v", len(list.Items), err)
	}
	w.stop()
	ledger := quota.New()
	w = begin(t, home, func(c *api.Config) { define(c); c.Quotas = ledger })
	again := ledger.Status("default")["few"].Used["count/widgets.example.com"]
	if again.Value() != 5 {
		t.Errorf("after a restart %s are counted", again.String())
	}
}

// TestQuotaIsNotIgnored refuses quotas of what is not counted here.
func TestQuotaIsNotIgnored(t *testing.T) {
	w := begin(t, "", nil)
	quotas := w.client(t).CoreV1().ResourceQuotas("default")
	for _, c := range []struct {
		hard  corev1.ResourceName
		value string
		scope corev1.ResourceQuotaScope
		text  string
	}{
		{"count/events", "1", "", "events go by themselves and are not counted"},
		{"gizmos", "1", "", `Unsupported value: "gizmos"`},
		{"pods", "-1", "", "must be greater than or equal to 0"},
		{"pods", "500m", "", "must be an integer"},
		{"pods", "1", corev1.ResourceQuotaScopePriorityClass, `Unsupported value: "PriorityClass"`},
		{"services", "1", corev1.ResourceQuotaScopeNotTerminating, "unsupported scope applied to resource services"},
		{"cpu", "1", corev1.ResourceQuotaScopeBestEffort, "unsupported scope applied to resource cpu"},
	} {
		q := limits("q", map[corev1.ResourceName]string{c.hard: c.value})
		if c.scope != "" {
			q.Spec.Scopes = []corev1.ResourceQuotaScope{c.scope}
		}
		_, err := quotas.Create(t.Context(), q, metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s %s %s: %v", c.hard, c.value, c.scope, err)
		}
	}
	q := limits("q", map[corev1.ResourceName]string{"pods": "1"})
	q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: corev1.ResourceQuotaScopeNotTerminating, Operator: corev1.ScopeSelectorOpExists}}}
	if _, err := quotas.Create(t.Context(), q, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}
