package controller

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/internal/quota"
)

// podQuota is a quota of so many pods.
func podQuota(version, pods string) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "few", UID: "q", ResourceVersion: version},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse(pods)}},
	}
}

func podsUsed(l *quota.Ledger) int64 {
	used := l.Status("default")["few"].Used
	return used.Pods().Value()
}

func claimed(p *plan) {
	p.claim = quota.OfPod(&corev1.Pod{Spec: p.deployment.Spec.Template.Spec}, queueContainer)
}

// TestScalerObeysAQuota is refused the first instance, says so, gives up in time, and tries again by itself when the quota is raised.
func TestScalerObeysAQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idleBench(t, nil, claimed)
		b.quotas.SetQuota(podQuota("1", "0"))
		b.begin()
		defer b.end()
		time.Sleep(10 * time.Millisecond)
		b.expect(1, 0, 0)
		const text = " is forbidden: exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0"
		s := b.state()
		if !strings.HasPrefix(s.denied, `pods "hello-00001-deployment-`) || !strings.HasSuffix(s.denied, text) || b.machine.made != 0 {
			t.Errorf("denied %q, %d made", s.denied, b.machine.made)
		}
		status := s.deploymentStatus(b.plan, metav1.Time{})
		last := status.Conditions[len(status.Conditions)-1]
		if last.Type != appsv1.DeploymentReplicaFailure || last.Reason != failedCreate || last.Message != s.denied {
			t.Errorf("condition %+v", last)
		}
		time.Sleep(10 * time.Second)
		if again := b.state().denied; again != s.denied || b.reported.Load() != 1 {
			t.Errorf("the message changed to %q, %d events", again, b.reported.Load())
		}
		time.Sleep(time.Minute)
		if s := b.state(); !s.exceeded || s.denied == "" || s.want != 0 {
			t.Errorf("after the deadline: %+v", s)
		}
		b.quotas.SetQuota(podQuota("2", "1"))
		time.Sleep(time.Second)
		b.expect(1, 1, 1)
		if s := b.state(); s.denied != "" || s.exceeded || !s.initialized {
			t.Errorf("after the quota was raised: %+v", s)
		}
	})
}

// TestQuotaIsGivenBack holds the second of two revisions at zero until the first goes there; a spare takes nothing of a quota.
func TestQuotaIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newBench(t, nil, claimed)
		defer first.end()
		first.quotas.SetQuota(podQuota("1", "1"))
		time.Sleep(time.Second)
		first.expect(1, 1, 1)
		second := idleBench(t, nil, func(p *plan) { claimed(p); p.deadline = time.Hour })
		second.quotas = first.quotas
		second.begin()
		defer second.end()
		time.Sleep(time.Second)
		second.expect(1, 0, 0)
		if s := second.state(); s.denied == "" || s.pending != nil {
			t.Errorf("two instances with a quota of one: %+v", s)
		}
		time.Sleep(2 * time.Minute)
		first.expect(0, 0, 0)
		if first.state().spares != 1 {
			t.Error("no spare is kept at zero")
		}
		second.expect(0, 0, 0) // it had its turn, and its own window
		if !second.state().initialized {
			t.Error("the second never had its turn")
		}
		if n := podsUsed(first.quotas); n != 0 {
			t.Errorf("%d used at zero", n)
		}
	})
}

// TestFrozenKeepsItsQuota freezes and thaws under a quota of one: what is frozen is still there.
func TestFrozenKeepsItsQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idleBench(t, nil, func(p *plan) { claimed(p); p.freeze = true })
		b.quotas.SetQuota(podQuota("1", "1"))
		b.begin()
		defer b.end()
		time.Sleep(90 * time.Second)
		b.expect(0, 0, 0)
		if n := podsUsed(b.quotas); n != 1 {
			t.Errorf("%d used while frozen", n)
		}
		b.load.put(1, 0)
		b.wake()
		time.Sleep(time.Second)
		b.expect(1, 1, 1)
	})
}
