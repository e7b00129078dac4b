package api

import (
	"context"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// endedPods serves services/ended: the pods of a service that are gone and whose logs pods/log still gives. Kubernetes forgets a pod and
// its log together; here what ran before a scale to zero can be read. The service itself may be gone as well.
type endedPods struct{ live Live }

var _ rest.Getter = (*endedPods)(nil)

// New is the kind of the answer.
func (*endedPods) New() runtime.Object { return &corev1.PodList{} }

// Destroy does nothing: nothing was opened.
func (*endedPods) Destroy() {}

// Get lists the pods, youngest first.
func (e *endedPods) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if e.live == nil {
		return nil, errNothingRuns()
	}
	pods, err := e.live.Ended(ctx, request.NamespaceValue(ctx), name)
	if err != nil {
		return nil, err
	}
	return &corev1.PodList{Items: pods}, nil
}

func errNothingRuns() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotImplemented, Reason: "NotImplemented", Message: "nothing runs behind the pods of this server",
	}}
}
