package controller

import (
	"strings"
	"time"

	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

// Annotations of Fairlead's own, on a Service (allow-from, notice) or on its template (the others).
const (
	// allowFromAnnotation lists who may call: "namespace/service", "namespace/*", "*", "external".
	allowFromAnnotation = "fairlead.dev/allow-from"
	// noticeAnnotation is a text that browsers see instead of the answer, as why a build went wrong.
	noticeAnnotation = "fairlead.dev/notice"
	// idleAnnotation with the value "freeze" keeps the last instance frozen instead of stopping it.
	idleAnnotation = "fairlead.dev/idle"
	// wakingPageAnnotation with the value "false" turns the page off that browsers see while an instance wakes.
	wakingPageAnnotation = "fairlead.dev/waking-page"
	// serverTimingAnnotation with the value "true" tells the parts of a cold start in every answer that waited for one.
	serverTimingAnnotation = "fairlead.dev/server-timing"
)

// makeBackend says to the gateway how a revision wants its requests.
func makeBackend(rev *v1.Revision) gateway.Backend {
	b := gateway.Backend{
		Name:                 backendName(rev.Namespace, rev.Name),
		Namespace:            rev.Namespace,
		Service:              rev.Labels[serving.ServiceLabelKey],
		Configuration:        rev.Labels[serving.ConfigurationLabelKey],
		Concurrency:          int(rev.Spec.GetContainerConcurrency()),
		Timeout:              seconds(rev.Spec.TimeoutSeconds),
		ResponseStartTimeout: seconds(rev.Spec.ResponseStartTimeoutSeconds),
		IdleTimeout:          seconds(rev.Spec.IdleTimeoutSeconds),
		NoWakingPage:         strings.EqualFold(rev.Annotations[wakingPageAnnotation], "false"),
		ServerTiming:         strings.EqualFold(rev.Annotations[serverTimingAnnotation], "true"),
	}
	if rev.GetProtocol() == networking.ProtocolH2C {
		b.Protocol = gateway.H2C
	}
	return b
}

func seconds(n *int64) time.Duration {
	if n == nil {
		return 0
	}
	return time.Duration(*n) * time.Second
}

// caller is who an instance is when it calls another service, as its labels tell.
func caller(labels map[string]string) gateway.Caller {
	namespace := labels[labelNamespace]
	return gateway.Caller{
		Namespace: namespace,
		Service:   labels[labelService],
		Revision:  labels[labelRevision],
		Instance:  labels[labelPod],
		Search:    searchDomains(namespace),
		Internal:  true,
	}
}

// searchDomains are what a short name is tried with, as in a Kubernetes pod.
func searchDomains(namespace string) []string {
	return []string{namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"}
}
