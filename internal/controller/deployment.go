package controller

import (
	"maps"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/autoscaling"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	servingnetworking "knative.dev/serving/pkg/networking"
	"knative.dev/serving/pkg/reconciler/revision/resources"
	"knative.dev/serving/pkg/reconciler/revision/resources/names"
)

// queueContainer is the container that stands in the views for what the gateway does.
const queueContainer = resources.QueueContainerName

// notForPods are the labels of a revision that its pods do not inherit.
func notForPods() []string { return []string{serving.RouteLabelKey, serving.RoutingStateLabelKey} }

// notForAnnotations are the annotations of a revision that its pods do not inherit.
func notForAnnotations() []string {
	return []string{
		serving.RevisionLastPinnedAnnotationKey, serving.RevisionPreservedAnnotationKey,
		serving.RoutingStateModifiedAnnotationKey, serving.RoutesAnnotationKey,
	}
}

// makeDeployment is the Deployment that Knative makes for a revision: the same name, labels and user containers, and a
// container queue-proxy in name only.
func makeDeployment(rev *v1.Revision, s *settings) *appsv1.Deployment {
	labels := revisionLabels(rev)
	annotations := without(rev.Annotations, notForAnnotations())
	maps.DeleteFunc(annotations, func(k, _ string) bool { return strings.HasPrefix(k, autoscaling.GroupName) })
	template := maps.Clone(annotations)
	if name := rev.Spec.GetContainer().Name; name != "" {
		template[resources.DefaultContainerAnnotationName] = name
	}
	containers := append(resources.BuildUserContainers(rev, s.features), makeQueueContainer(rev))
	pod := resources.BuildPodSpec(rev, containers, s.revision())
	if pod.RuntimeClassName == nil {
		pod.RuntimeClassName = s.deployment.PodRuntimeClassName(rev.Labels)
	}
	restoreProbes(rev, pod)
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Name:            names.Deployment(rev),
			Namespace:       rev.Namespace,
			Labels:          labels,
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(rev)},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas:                ptr.Int32(initialScale(rev, s)),
			Selector:                &metav1.LabelSelector{MatchLabels: map[string]string{serving.RevisionUID: string(rev.UID)}},
			ProgressDeadlineSeconds: ptr.Int32(int32(progressDeadline(rev, s) / time.Second)), //nolint:gosec // validated
			RevisionHistoryLimit:    ptr.Int32(0),
			Strategy:                appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(labels), Annotations: template},
				Spec:       *pod,
			},
		},
	}
	resources.UpdateDeploymentHashLabel(deployment)
	return deployment
}

// revisionLabels are the labels of everything that is made for a revision.
func revisionLabels(rev *v1.Revision) map[string]string {
	labels := without(rev.Labels, notForPods())
	labels[serving.RevisionLabelKey] = rev.Name
	labels[serving.RevisionUID] = string(rev.UID)
	if _, named := labels[resources.AppLabelKey]; !named {
		labels[resources.AppLabelKey] = rev.Name
	}
	return labels
}

// without copies a map but for some keys. It never gives nil.
func without(m map[string]string, keys []string) map[string]string {
	out := make(map[string]string, len(m))
	maps.Copy(out, m)
	for _, k := range keys {
		delete(out, k)
	}
	return out
}

func initialScale(rev *v1.Revision, s *settings) int32 {
	if _, text, ok := autoscaling.InitialScaleAnnotation.Get(rev.Annotations); ok {
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			return int32(n)
		}
	}
	return s.autoscaler.InitialScale
}

// progressDeadline is how long a revision may take to get ready.
func progressDeadline(rev *v1.Revision, s *settings) time.Duration {
	if _, text, ok := serving.ProgressDeadlineAnnotation.Get(rev.Annotations); ok {
		if d, err := time.ParseDuration(text); err == nil {
			return d
		}
	}
	return s.deployment.ProgressDeadline
}

func makeQueueContainer(rev *v1.Revision) corev1.Container {
	port := int32(servingnetworking.BackendHTTPPort)
	if rev.GetProtocol() == networking.ProtocolH2C {
		port = servingnetworking.BackendHTTP2Port
	}
	return corev1.Container{
		Name:  queueContainer,
		Image: queueImage,
		Ports: []corev1.ContainerPort{{Name: "queue-port", ContainerPort: port}},
	}
}

// restoreProbes puts back the readiness probes that Knative moves into its queue-proxy: here the sandbox probes.
func restoreProbes(rev *v1.Revision, pod *corev1.PodSpec) {
	for i := range rev.Spec.Containers {
		for j := range pod.Containers {
			if pod.Containers[j].Name == rev.Spec.Containers[i].Name {
				pod.Containers[j].ReadinessProbe = rev.Spec.Containers[i].ReadinessProbe.DeepCopy()
				pod.Containers[j].Lifecycle = nil
			}
		}
	}
}
