package controller

import (
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/autoscale"
	"github.com/fairlead-dev/fairlead/internal/quota"
)

func (c *Controller) revisionKind() kind[*v1.Revision] {
	return kind[*v1.Revision]{
		wrote:  c.wrote.revisions,
		again:  c.revisionQueue,
		copy:   (*v1.Revision).DeepCopy,
		status: func(o *v1.Revision) any { return &o.Status },
		move:   func(from, onto *v1.Revision) { onto.Status = from.Status },
		update: func(ctx context.Context, o *v1.Revision) (*v1.Revision, error) {
			return c.serving.ServingV1().Revisions(o.Namespace).UpdateStatus(ctx, o, metav1.UpdateOptions{})
		},
		get: func(ctx context.Context, k key) (*v1.Revision, error) {
			return c.serving.ServingV1().Revisions(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		},
	}
}

func (c *Controller) reconcileRevision(ctx context.Context, k key) error {
	stored, err := c.listers.revisions.Revisions(k.Namespace).Get(k.Name)
	if apierrs.IsNotFound(err) {
		c.wrote.revisions.forget(k)
		c.scalers.retire(k)
		c.digests.forget(k)
		c.viewQueue.add(k)
		return nil
	} else if err != nil {
		return err
	}
	if stored.DeletionTimestamp != nil {
		c.scalers.retire(k)
		return nil
	}
	ctx = c.settings().context(ctx)
	err = process(ctx, c, c.revisionKind(), stored, c.makeRevision)
	c.viewQueue.add(k)
	return err
}

// makeRevision resolves the images, hands the scaler its plan and tells how the instances do.
func (c *Controller) makeRevision(ctx context.Context, rev *v1.Revision) error {
	wasReady := rev.IsReady()
	c.tellIsolation(&rev.Status.Status, rev.Spec.RuntimeClassName, rev.Labels)
	rev.Status.LogURL = strings.ReplaceAll(c.settings().observability.LoggingURLTemplate, "${REVISION_UID}", string(rev.UID))
	done, err := c.digests.resolve(ctx, rev, c.settings().deployment)
	if missing := (*imageError)(nil); errors.As(err, &missing) {
		missing.mark(&rev.Status)
		return reportedError{err}
	} else if err != nil {
		return err
	}
	if !done {
		rev.Status.MarkResourcesAvailableUnknown(v1.ReasonResolvingDigests, "")
		return nil
	}
	p := c.makePlan(rev)
	state := c.scalers.plan(p)
	if state == nil && p.initialized {
		return nil // an earlier daemon has proved it, and what it said stands until the scaler says otherwise
	}
	if state == nil {
		rev.Status.MarkResourcesAvailableUnknown(v1.ReasonDeploying, "")
		rev.Status.MarkContainerHealthyUnknown(v1.ReasonDeploying, "")
		rev.Status.MarkActiveUnknown(v1.ReasonDeploying, "")
		return nil
	}
	c.tellInstances(rev, p, state)
	if !wasReady && rev.Status.GetCondition(v1.RevisionConditionReady).IsTrue() {
		c.events.Event(rev, corev1.EventTypeNormal, "RevisionReady", "Revision becomes ready upon all resources being ready")
	}
	return nil
}

// tellInstances puts what the scaler says into the status, in the words of Knative's reconcilers.
func (c *Controller) tellInstances(rev *v1.Revision, p *plan, state *scaleState) {
	deployment := state.deploymentStatus(p, metav1.Time{})
	rev.Status.PropagateDeploymentStatus(&deployment)
	if state.want > 0 && state.ready == 0 {
		if state.missing != "" && !c.settings().deployment.PodIsAlwaysSchedulable {
			rev.Status.MarkResourcesAvailableFalse(string(corev1.PodReasonUnschedulable), state.missing)
		}
		if f := state.failure; f != nil {
			message := f.message
			if f.code == 0 && message == "" {
				message = "container exited with no error"
			} else {
				message = v1.RevisionContainerExitingMessage(message)
			}
			rev.Status.MarkContainerHealthyFalse(v1.ExitCodeReason(f.code), message)
		}
	}
	if state.ready == 0 && state.refused {
		rev.Status.MarkResourcesAvailableFalse(failedCreate, state.waiting)
	} else if state.waiting != "" && state.ready == 0 && state.exceeded {
		rev.Status.MarkResourcesAvailableFalse("CreateContainerConfigError", state.waiting)
	}
	if state.ready > 0 {
		rev.Status.MarkContainerHealthyTrue()
	} else if !state.initialized && !rev.Status.GetCondition(v1.RevisionConditionContainerHealthy).IsFalse() {
		rev.Status.MarkContainerHealthyUnknown(v1.ReasonDeploying, "")
	}
	scaling := state.autoscalerStatus(rev.Name)
	rev.Status.PropagateAutoscalerStatus(&scaling)
	if state.waiting != "" && state.ready == 0 && rev.Status.GetCondition(v1.RevisionConditionResourcesAvailable).IsUnknown() {
		rev.Status.MarkResourcesAvailableUnknown("CreateContainerConfigError", state.waiting)
	}
	markElsewhere(&rev.Status, state.elsewhere)
}

// makePlan says how the revision's instances are made and scaled.
func (c *Controller) makePlan(rev *v1.Revision) *plan {
	s := c.settings()
	deployment := makeDeployment(rev, s)
	p := &plan{
		revision:   rev,
		deployment: deployment,
		digests:    make(map[string]string, len(rev.Status.ContainerStatuses)),
		spec:       autoscale.Resolve(rev.Annotations, rev.Spec.GetContainerConcurrency(), rev.GetRoutingState() != v1.RoutingStateReserve, s.autoscaler),
		deadline:   progressDeadline(rev, s),
		freeze:     strings.EqualFold(rev.Annotations[idleAnnotation], "freeze"),
		needs:      demandOf(&deployment.Spec.Template.Spec, true),
		claim:      quota.OfPod(&corev1.Pod{Spec: deployment.Spec.Template.Spec}, queueContainer),
	}
	for _, list := range [][]v1.ContainerStatus{rev.Status.ContainerStatuses, rev.Status.InitContainerStatuses} {
		for _, status := range list {
			p.digests[status.Name] = status.ImageDigest
		}
	}
	p.initialized = rev.Status.GetCondition(v1.RevisionConditionContainerHealthy).IsTrue() &&
		rev.Status.GetCondition(v1.RevisionConditionResourcesAvailable).IsTrue()
	p.spare = p.spec.Reachable && c.conf.Spares >= 0
	p.version = c.versionOf(rev, p)
	return p
}

// serviceOf is the service a revision belongs to, "" if none.
func serviceOf(rev *v1.Revision) string { return rev.Labels[serving.ServiceLabelKey] }
