package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// podDoor is what the subresources of pods behind Live have in common.
type podDoor struct {
	pods       rest.Getter
	live       Live
	authorizer authorizer.Authorizer
	streams    *streams
}

// New is part of every storage.
func (podDoor) New() runtime.Object { return &corev1.Pod{} }

// Destroy does nothing: nothing was opened.
func (podDoor) Destroy() {}

// pod finds the pod that is asked about.
func (d podDoor) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	if d.live == nil {
		return nil, errNothingRuns()
	}
	object, err := d.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return object.(*corev1.Pod), nil
}

// container checks the container asked for, or takes the only one.
func container(pod *corev1.Pod, name string) (string, error) {
	var names []string
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	if name == "" {
		if preferred := pod.Annotations["kubectl.kubernetes.io/default-container"]; slices.Contains(names, preferred) {
			return preferred, nil
		}
		if len(names) == 1 {
			return names[0], nil
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(names, " ")))
	}
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	if !slices.Contains(names, name) {
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	}
	return name, nil
}

// mayCreate asks for the right to create, as for POST, when a WebSocket's GET came with the right to get only.
func (d podDoor) mayCreate(ctx context.Context, name, subresource string) error {
	info, ok := request.RequestInfoFrom(ctx)
	if !ok || info.Verb == "create" {
		return nil
	}
	user, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewUnauthorized("no user")
	}
	decision, reason, err := d.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: user, Verb: "create", Namespace: request.NamespaceValue(ctx), APIVersion: "v1", Resource: "pods", Subresource: subresource, Name: name, ResourceRequest: true,
	})
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if decision != authorizer.DecisionAllow {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods/" + subresource}, name, fmt.Errorf("%s", reason))
	}
	return nil
}

// installPods adds the subresources behind Live, evictions, and the subresource of services that tells of pods which are gone.
func (c *chain) installPods(resources map[string]rest.Storage, a authorizer.Authorizer) {
	door := podDoor{pods: resources["pods"].(rest.Getter), live: c.server.cfg.Live, authorizer: a, streams: c.streams}
	resources["pods/log"] = &podLog{door}
	resources["pods/exec"] = &podExec{door}
	resources["pods/attach"] = &podAttach{door}
	resources["pods/portforward"] = &podForward{door}
	resources["services/ended"] = &endedPods{live: c.server.cfg.Live}
	resources["pods/eviction"] = &podEvict{resources["pods"].(rest.GracefulDeleter)}
}
