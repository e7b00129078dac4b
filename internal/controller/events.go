package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	netscheme "knative.dev/networking/pkg/client/clientset/versioned/scheme"
	servingscheme "knative.dev/serving/pkg/client/clientset/versioned/scheme"
)

// newRecorder makes the recorder of API events. Events wait in a bounded queue; a full one drops them.
func (c *Controller) newRecorder() {
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, servingscheme.AddToScheme, netscheme.AddToScheme} {
		if err := add(known); err != nil {
			panic("controller: the client's own kinds do not register: " + err.Error())
		}
	}
	c.broadcaster = record.NewBroadcaster()
	c.events = c.broadcaster.NewRecorder(known, corev1.EventSource{Component: "fairlead"})
}

// eventSink writes events through the core client.
type eventSink struct{ client typedcore.EventInterface }

func (s *eventSink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.client.CreateWithEventNamespaceWithContext(context.Background(), e)
}

func (s *eventSink) Update(e *corev1.Event) (*corev1.Event, error) {
	return s.client.UpdateWithEventNamespaceWithContext(context.Background(), e)
}

func (s *eventSink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.client.PatchWithEventNamespaceWithContext(context.Background(), e, data)
}

// tell records what a scaler reports, on the revision and on the pod.
func (c *Controller) tell(p *plan, r report) {
	kind := corev1.EventTypeNormal
	if r.warning {
		kind = corev1.EventTypeWarning
	}
	if r.pod != "" {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: r.pod, Namespace: p.revision.Namespace}}
		c.events.Event(pod, kind, r.reason, r.message)
	}
	if r.warning {
		c.events.Event(p.revision, kind, r.reason, r.message)
	}
	if r.warning && !r.runs {
		c.metrics.ends.WithLabelValues(closedReason(r.reason)).Inc()
	}
}

// closedReason keeps a metric's label to a closed set.
func closedReason(reason string) string {
	switch reason {
	case "OOMKilled", "BackOff", "Failed", "Evicted", "Unhealthy", "HelperLost":
		return reason
	}
	return "Other"
}
