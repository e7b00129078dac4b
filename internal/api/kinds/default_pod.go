package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// fileMode is the mode of files that come from a ConfigMap or Secret.
const fileMode int32 = 0o644

func defaultPod(p *corev1.PodSpec) {
	set(&p.RestartPolicy, corev1.RestartPolicyAlways)
	set(&p.DNSPolicy, corev1.DNSClusterFirst)
	set(&p.SchedulerName, corev1.DefaultSchedulerName)
	setPtr(&p.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	setPtr(&p.SecurityContext, corev1.PodSecurityContext{})
	setPtr(&p.EnableServiceLinks, true)
	for i := range p.Volumes {
		defaultVolume(&p.Volumes[i].VolumeSource)
	}
	for i := range p.InitContainers {
		defaultContainer(&p.InitContainers[i])
	}
	for i := range p.Containers {
		defaultContainer(&p.Containers[i])
	}
}

func defaultVolume(v *corev1.VolumeSource) {
	switch {
	case *v == (corev1.VolumeSource{}):
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	case v.Secret != nil:
		setPtr(&v.Secret.DefaultMode, fileMode)
	case v.ConfigMap != nil:
		setPtr(&v.ConfigMap.DefaultMode, fileMode)
	case v.DownwardAPI != nil:
		setPtr(&v.DownwardAPI.DefaultMode, fileMode)
		for i := range v.DownwardAPI.Items {
			defaultFieldRef(v.DownwardAPI.Items[i].FieldRef)
		}
	case v.HostPath != nil:
		setPtr(&v.HostPath.Type, corev1.HostPathUnset)
	case v.Projected != nil:
		setPtr(&v.Projected.DefaultMode, fileMode)
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				setPtr(&s.ServiceAccountToken.ExpirationSeconds, 3600)
			}
			if s.DownwardAPI != nil {
				for i := range s.DownwardAPI.Items {
					defaultFieldRef(s.DownwardAPI.Items[i].FieldRef)
				}
			}
		}
	}
}

func defaultFieldRef(ref *corev1.ObjectFieldSelector) {
	if ref != nil {
		set(&ref.APIVersion, "v1")
	}
}

func defaultContainer(c *corev1.Container) {
	set(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	set(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	set(&c.ImagePullPolicy, pullPolicy(c.Image))
	for i := range c.Ports {
		set(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaultFieldRef(from.FieldRef)
		}
	}
	for name, limit := range c.Resources.Limits {
		if _, asked := c.Resources.Requests[name]; !asked {
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = limit.DeepCopy()
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

// pullPolicy is Always for an image that names no version, because another may stand there tomorrow.
func pullPolicy(image string) corev1.PullPolicy {
	name := image[strings.LastIndexByte(image, '/')+1:]
	name, _, pinned := strings.Cut(name, "@")
	_, tag, tagged := strings.Cut(name, ":")
	if !pinned && (!tagged || tag == "latest") {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	set(&p.TimeoutSeconds, 1)
	set(&p.PeriodSeconds, 10)
	set(&p.SuccessThreshold, 1)
	set(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		setPtr(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(h *corev1.HTTPGetAction) {
	if h == nil {
		return
	}
	set(&h.Path, "/")
	set(&h.Scheme, corev1.URISchemeHTTP)
	if h.Port == (intstr.IntOrString{}) {
		h.Port = intstr.FromInt32(0)
	}
}
