package quota

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Claim is what one object takes of the quotas of its namespace. It does not change once it was made.
type Claim struct {
	usage corev1.ResourceList // by the names that quotas have for it
	// pod says that scopes may fit, and which.
	pod, bestEffort, terminating bool
	// lacking names the containers that do not say how much they take of what a quota could limit.
	lacking map[corev1.ResourceName][]string
}

// countPrefix begins the names of object counts.
const countPrefix = "count/"

// same tells whether two claims take the same.
func (c *Claim) same(o *Claim) bool {
	return c == o || c.pod == o.pod && c.bestEffort == o.bestEffort && c.terminating == o.terminating && quotav1.Equals(c.usage, o.usage)
}

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

// CountName is the name under which a quota limits the number of objects of a resource.
func CountName(r schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName(countPrefix + r.String())
}

// OfCount is the claim of an object that is only counted.
func OfCount(r schema.GroupResource) *Claim {
	c := &Claim{usage: corev1.ResourceList{CountName(r): one()}}
	if r.Group == "" && slices.Contains(plainCounts(), corev1.ResourceName(r.Resource)) {
		c.usage[corev1.ResourceName(r.Resource)] = one()
	}
	return c
}

// plainCounts are the core kinds whose number has a name without the prefix, too.
func plainCounts() []corev1.ResourceName {
	return []corev1.ResourceName{corev1.ResourceConfigMaps, corev1.ResourceSecrets, corev1.ResourceServices, corev1.ResourcePersistentVolumeClaims, corev1.ResourceQuotas}
}

// OfService is the claim of a core Service.
func OfService(s *corev1.Service) *Claim {
	c := OfCount(schema.GroupResource{Resource: "services"})
	ports := *resource.NewQuantity(int64(len(s.Spec.Ports)), resource.DecimalSI)
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		c.usage[corev1.ResourceServicesNodePorts] = ports
	case corev1.ServiceTypeLoadBalancer:
		c.usage[corev1.ResourceServicesLoadBalancers] = one()
		if allocate := s.Spec.AllocateLoadBalancerNodePorts; allocate == nil || *allocate {
			c.usage[corev1.ResourceServicesNodePorts] = ports
		}
	}
	return c
}

// storageClassSuffix stands between the name of a storage class and what is limited for it.
const storageClassSuffix = ".storageclass.storage.k8s.io/"

// OfVolumeClaim is the claim of a PersistentVolumeClaim.
func OfVolumeClaim(p *corev1.PersistentVolumeClaim) *Claim {
	c := OfCount(schema.GroupResource{Resource: "persistentvolumeclaims"})
	size, sized := p.Spec.Resources.Requests[corev1.ResourceStorage]
	if sized {
		c.usage[corev1.ResourceRequestsStorage] = size
	}
	if class := p.Spec.StorageClassName; class != nil && *class != "" {
		c.usage[corev1.ResourceName(*class+storageClassSuffix+"persistentvolumeclaims")] = one()
		if sized {
			c.usage[corev1.ResourceName(*class+storageClassSuffix+"requests.storage")] = size
		}
	}
	return c
}

// OfPod is the claim of a Pod, or of an instance that is made after it. The container called without is left out: it is there in
// name only. A pod that has ended is only counted.
func OfPod(pod *corev1.Pod, without string) *Claim {
	c := &Claim{usage: corev1.ResourceList{CountName(schema.GroupResource{Resource: "pods"}): one()}}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return c
	}
	pod = pod.DeepCopy()
	pod.Spec.Containers = slices.DeleteFunc(pod.Spec.Containers, func(c corev1.Container) bool { return without != "" && c.Name == without })
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			askForLimits(&list[i].Resources)
		}
	}
	c.usage[corev1.ResourcePods] = one()
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	addCompute(c.usage, requests, resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{}))
	c.pod, c.bestEffort = true, true
	c.terminating = pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			c.look(&list[i])
		}
	}
	return c
}

// askForLimits lets limits stand in for the requests that are missing, as the API does for a Pod that is written.
func askForLimits(r *corev1.ResourceRequirements) {
	for name, q := range r.Limits {
		if _, asked := r.Requests[name]; !asked {
			if r.Requests == nil {
				r.Requests = corev1.ResourceList{}
			}
			r.Requests[name] = q
		}
	}
}

// look notes what a container does not say, and whether it says anything.
func (c *Claim) look(container *corev1.Container) {
	said := corev1.ResourceList{}
	addCompute(said, container.Resources.Requests, container.Resources.Limits)
	for _, name := range mustBeSaid() {
		if _, ok := said[name]; ok {
			c.bestEffort = false
			continue
		}
		if c.lacking == nil {
			c.lacking = map[corev1.ResourceName][]string{}
		}
		c.lacking[name] = append(c.lacking[name], container.Name)
	}
}

// mustBeSaid are what every container has to have a number for where a quota limits it.
func mustBeSaid() []corev1.ResourceName {
	return []corev1.ResourceName{
		corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
	}
}

// addCompute adds requests and limits under the names of quotas.
func addCompute(to, requests, limits corev1.ResourceList) {
	plain := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	for name, q := range requests {
		to["requests."+name] = q
		if slices.Contains(plain, name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			to[name] = q
		}
	}
	for name, q := range limits {
		if slices.Contains(plain, name) {
			to["limits."+name] = q
		}
	}
}
