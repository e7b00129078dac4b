package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	asresources "knative.dev/serving/pkg/reconciler/autoscaling/resources"
	anames "knative.dev/serving/pkg/reconciler/autoscaling/resources/names"
	revresources "knative.dev/serving/pkg/reconciler/revision/resources"
	sksresources "knative.dev/serving/pkg/reconciler/serverlessservice/resources"
	sksnames "knative.dev/serving/pkg/reconciler/serverlessservice/resources/names"
)

// reconcileViews writes to the API what Kubernetes and Knative would have there for a revision: its Deployment, Pods,
// PodAutoscaler, HorizontalPodAutoscaler, ServerlessService, core Services, Endpoints and EndpointSlices. They are read, never obeyed, with
// one exception: a Pod that is deleted takes its instance with it. Pods are there always, the others when somebody has asked for them.
func (c *Controller) reconcileViews(ctx context.Context, k key) error {
	one := c.scalers.get(backendName(k.Namespace, k.Name))
	rev, err := c.listers.revisions.Revisions(k.Namespace).Get(k.Name)
	if apierrs.IsNotFound(err) || err == nil && rev.DeletionTimestamp != nil {
		c.asked.looked(k, false)
		return c.dropPods(ctx, k, nil)
	} else if err != nil {
		return err
	}
	wanted := c.asked.wants(rev)
	if one == nil {
		c.asked.looked(k, false)
		return nil
	}
	state, p := one.seen.Load(), one.planned.Load()
	if state == nil || p == nil {
		c.asked.looked(k, false)
		return nil
	}
	if !wanted {
		return c.viewInstances(ctx, p, state)
	}
	if c.viewsCanWait(rev, p, state) {
		c.viewQueue.addAfter(k, viewsPause)
		return nil
	}
	err = c.viewAll(c.settings().context(ctx), p, state)
	if !apierrs.IsConflict(err) && !apierrs.IsAlreadyExists(err) { // else the informer was behind, and it is done again at once
		c.asked.looked(k, err == nil)
	}
	return err
}

// viewInstances keeps the Pods of a revision, and the Deployment that they belong to.
func (c *Controller) viewInstances(ctx context.Context, p *plan, state *scaleState) error {
	k := key{Namespace: p.revision.Namespace, Name: p.revision.Name}
	if len(state.pods) == 0 && state.pending == nil {
		return c.dropPods(ctx, k, nil)
	}
	deployment, err := c.keptDeployment(ctx, p, state)
	if err != nil {
		return err
	}
	return c.viewPods(ctx, p, state, deployment)
}

func (c *Controller) viewAll(ctx context.Context, p *plan, state *scaleState) error {
	deployment, err := c.viewDeployment(ctx, p, state)
	if err != nil {
		return err
	}
	return errors.Join(
		c.viewPods(ctx, p, state, deployment),
		c.viewAutoscaler(ctx, p, state, deployment),
	)
}

const (
	// viewsPause is how long the first views of a revision are put off while there is a backlog, and viewsLatest how old the revision gets
	// without them.
	viewsPause  = 250 * time.Millisecond
	viewsLatest = 30 * time.Second
)

// viewsCanWait tells whether a revision, of which nothing runs and nothing was shown yet, is one of many that come at the same time: their
// getting ready, which somebody waits for, takes twice as long with a dozen writes for each of them in between.
func (c *Controller) viewsCanWait(rev *v1.Revision, p *plan, state *scaleState) bool {
	if c.asked.awaited(key{Namespace: rev.Namespace, Name: rev.Name}) || len(state.pods) > 0 || !c.backlogged() || c.now().Sub(rev.CreationTimestamp.Time) >= viewsLatest {
		return false
	}
	_, err := c.listers.deployments.Deployments(rev.Namespace).Get(p.deployment.Name)
	return apierrs.IsNotFound(err)
}

// keptDeployment gives a revision's Deployment as it is, made if there is none.
func (c *Controller) keptDeployment(ctx context.Context, p *plan, state *scaleState) (*appsv1.Deployment, error) {
	deployment, err := c.listers.deployments.Deployments(p.revision.Namespace).Get(p.deployment.Name)
	if apierrs.IsNotFound(err) {
		want := p.deployment.DeepCopy()
		want.Spec.Replicas = &state.want
		deployment, err = c.kube.AppsV1().Deployments(want.Namespace).Create(ctx, want, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("deployment %q: %w", p.deployment.Name, err)
	}
	return deployment, nil
}

func (c *Controller) viewDeployment(ctx context.Context, p *plan, state *scaleState) (*appsv1.Deployment, error) {
	client := c.kube.AppsV1().Deployments(p.revision.Namespace)
	deployment, err := c.keptDeployment(ctx, p, state)
	if err != nil {
		return nil, err
	}
	want := p.deployment.DeepCopy()
	want.Spec.Replicas = &state.want
	hash := serving.RevisionDeploymentHashLabelKey
	if deployment.Labels[hash] != want.Labels[hash] || *deployment.Spec.Replicas != state.want {
		changed := deployment.DeepCopy()
		changed.Spec, changed.Labels, changed.Annotations = want.Spec, want.Labels, want.Annotations
		if deployment, err = client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
			return nil, fmt.Errorf("deployment %q: %w", want.Name, err)
		}
	}
	status := state.deploymentStatus(p, metav1.NewTime(c.now()))
	status.ObservedGeneration = deployment.Generation
	keepTimes(&status, &deployment.Status)
	if equality.Semantic.DeepEqual(status, deployment.Status) {
		return deployment, nil
	}
	changed := deployment.DeepCopy()
	changed.Status = status
	if deployment, err = client.UpdateStatus(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("status of deployment %q: %w", want.Name, err)
	}
	return deployment, nil
}

// keepTimes keeps the times of conditions that did not change.
func keepTimes(now, before *appsv1.DeploymentStatus) {
	for i := range now.Conditions {
		for _, old := range before.Conditions {
			n := &now.Conditions[i]
			if n.Type == old.Type && n.Status == old.Status && n.Reason == old.Reason {
				n.LastTransitionTime, n.LastUpdateTime = old.LastTransitionTime, old.LastUpdateTime
			}
		}
	}
}

func (c *Controller) viewAutoscaler(ctx context.Context, p *plan, state *scaleState, deployment *appsv1.Deployment) error {
	client := c.serving.AutoscalingV1alpha1().PodAutoscalers(p.revision.Namespace)
	want := revresources.MakePA(p.revision, deployment)
	want.SetDefaults(ctx)
	pa, err := c.listers.autoscalers.PodAutoscalers(want.Namespace).Get(want.Name)
	if apierrs.IsNotFound(err) {
		pa, err = client.Create(ctx, want, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("podautoscaler %q: %w", want.Name, err)
	}
	if !equality.Semantic.DeepEqual(pa.Spec, want.Spec) {
		changed := pa.DeepCopy()
		changed.Spec = want.Spec
		if pa, err = client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("podautoscaler %q: %w", want.Name, err)
		}
	}
	changed := pa.DeepCopy()
	changed.Status = state.autoscalerStatus(p.revision.Name)
	changed.Status.ObservedGeneration = pa.Generation
	keepConditionTimes(changed.Status.Conditions, pa.Status.Conditions)
	if !equality.Semantic.DeepEqual(changed.Status, pa.Status) {
		if pa, err = client.UpdateStatus(ctx, changed, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("status of podautoscaler %q: %w", want.Name, err)
		}
	}
	if pa.Annotations[autoscaling.ClassAnnotationKey] == autoscaling.HPA {
		return errors.Join(c.viewScaling(ctx, p, state, pa), c.viewServerless(ctx, p, state, pa, netv1alpha1.SKSOperationModeServe))
	}
	mode := netv1alpha1.SKSOperationModeProxy
	if state.want > 0 && !state.short {
		mode = netv1alpha1.SKSOperationModeServe
	}
	return c.viewServerless(ctx, p, state, pa, mode)
}

func keepConditionTimes(now, before []apis.Condition) {
	for i := range now {
		for _, old := range before {
			if old.Type == now[i].Type && old.Status == now[i].Status && old.Reason == now[i].Reason {
				now[i].LastTransitionTime = old.LastTransitionTime
			}
		}
	}
}

func (c *Controller) viewServerless(ctx context.Context, p *plan, state *scaleState, pa *autoscalingv1alpha1.PodAutoscaler, mode netv1alpha1.ServerlessServiceOperationMode) error {
	client := c.net.NetworkingV1alpha1().ServerlessServices(pa.Namespace)
	want := asresources.MakeSKS(pa, mode, 1)
	sks, err := c.listers.serverless.ServerlessServices(pa.Namespace).Get(anames.SKS(pa.Name))
	if apierrs.IsNotFound(err) {
		sks, err = client.Create(ctx, want, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("serverlessservice %q: %w", want.Name, err)
	}
	if !equality.Semantic.DeepEqual(sks.Spec, want.Spec) {
		changed := sks.DeepCopy()
		changed.Spec = want.Spec
		if sks, err = client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("serverlessservice %q: %w", want.Name, err)
		}
	}
	changed := sks.DeepCopy()
	changed.Status.InitializeConditions()
	changed.Status.ServiceName, changed.Status.PrivateServiceName = sks.Name, sksnames.PrivateService(sks.Name)
	changed.Status.MarkEndpointsReady()
	if mode == netv1alpha1.SKSOperationModeProxy {
		changed.Status.MarkActivatorEndpointsPopulated()
	} else {
		changed.Status.MarkActivatorEndpointsRemoved()
	}
	changed.Status.ObservedGeneration = sks.Generation
	keepConditionTimes(changed.Status.Conditions, sks.Status.Conditions)
	if !equality.Semantic.DeepEqual(changed.Status, sks.Status) {
		if sks, err = client.UpdateStatus(ctx, changed, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("status of serverlessservice %q: %w", want.Name, err)
		}
	}
	public := sksresources.MakePublicService(sks)
	private := sksresources.MakePrivateService(sks, p.deployment.Spec.Selector.MatchLabels)
	leadsTo := state
	if mode == netv1alpha1.SKSOperationModeProxy {
		leadsTo = c.throughGateway()
	}
	return errors.Join(c.viewService(ctx, public, leadsTo), c.viewService(ctx, private, state))
}

// dropPods deletes the pods of a revision that show no instance.
func (c *Controller) dropPods(ctx context.Context, k key, shown map[string]bool) error {
	pods, err := indexed[*corev1.Pod](c.informers.pods, byRevision, k.Namespace, k.Name)
	if err != nil {
		return err
	}
	now := int64(0)
	for _, pod := range pods {
		if shown[pod.Name] || !shownByUs(pod) {
			continue
		}
		err := c.kube.CoreV1().Pods(k.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if ignoreGone(err) != nil {
			return fmt.Errorf("pod %q: %w", pod.Name, err)
		}
	}
	return nil
}

// shownByUs tells a pod that shows a revision's instance from one a user made.
func shownByUs(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "Deployment" && pod.Labels[serving.RevisionLabelKey] != ""
}
