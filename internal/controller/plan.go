package controller

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/autoscale"
	"github.com/fairlead-dev/fairlead/internal/quota"
)

// plan is what a revision's scaler works by. It is never changed after it was handed over; the reconciler hands over
// another.
type plan struct {
	revision *v1.Revision
	// deployment is the view the pods are made after.
	deployment *appsv1.Deployment
	// digests maps containers to images by digest.
	digests map[string]string
	spec    autoscale.Spec
	// deadline is how long the revision may take to have a ready instance.
	deadline time.Duration
	// initialized says that the revision had its initial scale at an earlier time.
	initialized bool
	// freeze keeps the last instance frozen at zero.
	freeze bool
	// spare keeps a created instance at zero.
	spare bool
	// version changes with everything an instance is made of; a spare of another version is made anew.
	version string
	// needs is what one instance takes of the machine.
	needs demand
	// claim is what one instance takes of the quotas of its namespace.
	claim *quota.Claim
}

// demand is what an instance asks of the machine: the sum of its containers' requests.
type demand struct {
	cpuMillis, memoryBytes int64
}

// demandOf adds up the requests, the limits standing in where there are none.
func demandOf(pod *corev1.PodSpec, serving bool) demand {
	var d demand
	for i := range pod.Containers {
		if serving && pod.Containers[i].Name == queueContainer {
			continue
		}
		r := pod.Containers[i].Resources
		d.cpuMillis += requested(r, corev1.ResourceCPU, func(l corev1.ResourceList) int64 { return l.Cpu().MilliValue() })
		d.memoryBytes += requested(r, corev1.ResourceMemory, func(l corev1.ResourceList) int64 { return l.Memory().Value() })
	}
	return d
}

func requested(r corev1.ResourceRequirements, name corev1.ResourceName, value func(corev1.ResourceList) int64) int64 {
	if _, ok := r.Requests[name]; ok {
		return value(r.Requests)
	}
	return value(r.Limits)
}
