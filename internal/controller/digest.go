package controller

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/deployment"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// resolveInline is how long a reconciliation waits for the digests itself: images that are here take less.
const resolveInline = 250 * time.Millisecond

// pullTimeout is how long a revision's images may take to come from another registry.
const pullTimeout = 10 * time.Minute

// digestResolver turns the images of revisions into digests, in the background.
type digestResolver struct {
	images *oci.Store
	login  func(namespace string, pod *corev1.PodSpec) []oci.Credential
	done   func(key)
	jobs   sync.WaitGroup

	mu      sync.Mutex // guards results
	results map[key]*resolution
}

// resolution is the images of one revision on their way. digests and err are read after done is closed.
type resolution struct {
	done    chan struct{}
	digests map[string]string
	err     error
	// left says that no reconciliation waits any more: the end has to be told. Guarded by the resolver's lock.
	left bool
}

func newDigestResolver(c *Controller) *digestResolver {
	return &digestResolver{
		images: c.conf.Images, login: c.pullCredentials, results: map[key]*resolution{},
		done: func(k key) { c.revisionQueue.add(k) },
	}
}

// resolve fills in the container statuses. It gives false while that takes longer; done is called then.
func (r *digestResolver) resolve(ctx context.Context, rev *v1.Revision, conf *deployment.Config) (bool, error) {
	k := key{Namespace: rev.Namespace, Name: rev.Name}
	if len(rev.Status.ContainerStatuses)+len(rev.Status.InitContainerStatuses) == len(rev.Spec.Containers)+len(rev.Spec.InitContainers) {
		r.forget(k)
		return true, nil
	}
	result := r.begin(ctx, k, rev, conf)
	select {
	case <-result.done:
	case <-time.After(resolveInline):
		if r.leave(result) {
			return false, nil
		}
	case <-ctx.Done():
		return false, nil
	}
	if result.err != nil {
		r.forget(k)
		return true, result.err
	}
	rev.Status.ContainerStatuses = containerStatuses(rev.Spec.Containers, result.digests)
	rev.Status.InitContainerStatuses = containerStatuses(rev.Spec.InitContainers, result.digests)
	return true, nil
}

func containerStatuses(containers []corev1.Container, digests map[string]string) []v1.ContainerStatus {
	if len(containers) == 0 {
		return nil
	}
	statuses := make([]v1.ContainerStatus, len(containers))
	for i := range containers {
		statuses[i] = v1.ContainerStatus{Name: containers[i].Name, ImageDigest: digests[containers[i].Image]}
	}
	return statuses
}

// begin starts the resolution, or joins the one that runs.
func (r *digestResolver) begin(ctx context.Context, k key, rev *v1.Revision, conf *deployment.Config) *resolution {
	r.mu.Lock()
	defer r.mu.Unlock()
	if result := r.results[k]; result != nil {
		return result
	}
	result := &resolution{done: make(chan struct{}), digests: map[string]string{}}
	r.results[k] = result
	login := r.login(rev.Namespace, &rev.Spec.PodSpec)
	ctx, cancel := context.WithTimeout(ctx, max(conf.DigestResolutionTimeout, pullTimeout))
	r.jobs.Go(func() {
		defer cancel()
		for _, list := range [][]corev1.Container{rev.Spec.InitContainers, rev.Spec.Containers} {
			for i := range list {
				image := list[i].Image
				if result.digests[image] != "" {
					continue
				}
				resolved, err := r.images.Resolve(ctx, oci.ResolveRequest{
					Reference: image, Policy: pullPolicy(list[i].ImagePullPolicy), Credentials: login,
				})
				if err != nil {
					result.err = &imageError{image, err}
					break
				}
				result.digests[image] = resolved.String()
			}
		}
		if r.end(result) {
			r.done(k)
		}
	})
	return result
}

// imageError says that an image is not to be had.
type imageError struct {
	image string
	cause error
}

func (e *imageError) Error() string {
	return fmt.Sprintf("%s: %v", v1.RevisionContainerMissingMessage(e.image, "failed to resolve image to digest"), e.cause)
}

func (e *imageError) Unwrap() error { return e.cause }

// mark tells the revision. An image named by digest needs no resolving: what failed is its pull, which Knative reports in the words
// of a kubelet.
func (e *imageError) mark(status *v1.RevisionStatus) {
	if strings.Contains(e.image, "@") {
		status.MarkResourcesAvailableFalse("ErrImagePull", fmt.Sprintf("failed to pull image %q: %v", e.image, e.cause))
		return
	}
	status.MarkContainerHealthyFalse(v1.ReasonContainerMissing, e.Error())
}

// leave notes that nobody waits for a result, unless it is there already.
func (r *digestResolver) leave(result *resolution) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-result.done:
		return false
	default:
		result.left = true
		return true
	}
}

// end makes a result known and says whether somebody has to be told. A result that is waited for tells itself: a failed
// resolution must not put its revision into the queue past the queue's pauses.
func (r *digestResolver) end(result *resolution) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(result.done)
	return result.left
}

// forget drops what is known of a revision: the next resolve asks again.
func (r *digestResolver) forget(k key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.results, k)
}
