package controller

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// podRunner runs the Pods that users make themselves: one instance each, from creation to deletion.
type podRunner struct {
	c    *Controller
	ctx  context.Context //nolint:containedctx // of Run: goroutines are started for names that come later
	jobs sync.WaitGroup

	mu  sync.Mutex // guards ctx while it is set, and all
	all map[key]*plainPod
}

// plainPod is a running Pod of a user. The pod queue alone moves it; a goroutine of its own watches.
type plainPod struct {
	uid      string
	identity identity
	box      *madeBox
	reserved demand
	cancel   context.CancelFunc
}

func newPodRunner(c *Controller) *podRunner {
	return &podRunner{c: c, all: map[key]*plainPod{}}
}

func (r *podRunner) begin(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx = ctx
}

// wait joins what was started; after ctx has ended connect starts nothing more.
func (r *podRunner) wait() {
	r.mu.Lock()
	r.mu.Unlock() //nolint:staticcheck // what connect is about to start is started now
	r.jobs.Wait()
}

// connect runs a connection's copying until it ends. It is false before begin and after the end of ctx.
func (r *podRunner) connect(copying func(context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil || r.ctx.Err() != nil {
		return false
	}
	r.jobs.Go(func() { copying(r.ctx) })
	return true
}

func (r *podRunner) get(k key) *plainPod {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[k]
}

// adopt takes over the instance of a plain pod, or stops it where the pod is gone.
func (r *podRunner) adopt(ctx context.Context, labels map[string]string, m *madeBox) {
	k := key{Namespace: labels[labelNamespace], Name: labels[labelPod]}
	pod, err := r.c.listers.pods.Pods(k.Namespace).Get(k.Name)
	if err != nil || string(pod.UID) != labels[labelPodUID] {
		r.c.boxes.discard(ctx, m)
		return
	}
	t := r.c.newTranslator(pod.ObjectMeta, pod.Spec, labels[labelIP])
	m.complete(t, &translated{})
	notify(m.again) // tokens and files may have become old meanwhile
	r.add(k, &plainPod{
		uid: string(pod.UID), box: m, reserved: demandOf(&pod.Spec, false),
		identity: identity{name: pod.Name, uid: string(pod.UID), ip: labels[labelIP]},
	})
}

func (r *podRunner) add(k key, p *plainPod) {
	ctx, cancel := context.WithCancel(r.ctx)
	p.cancel = cancel
	r.mu.Lock()
	r.all[k] = p
	r.mu.Unlock()
	r.jobs.Go(func() {
		p.box.Watch(ctx, func(sandbox.State) { r.c.podQueue.add(k) })
	})
}

// dataChanged starts pods anew that could not be made because something they refer to was missing.
func (r *podRunner) dataChanged(k key) {
	pods, err := indexed[*corev1.Pod](r.c.informers.pods, byData, k.Namespace, k.Name)
	if err != nil {
		return
	}
	for _, pod := range pods {
		if !shownByUs(pod) && r.get(key{Namespace: pod.Namespace, Name: pod.Name}) == nil {
			r.c.podQueue.addName(pod.Namespace, pod.Name)
		}
	}
}

// onPod tells the scaler when a pod it shows was deleted, and queues plain pods.
func (c *Controller) onPod(k key, obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	if !shownByUs(pod) {
		c.podQueue.add(k)
		return
	}
	revision := pod.Labels[serving.RevisionLabelKey]
	_, err := c.listers.pods.Pods(k.Namespace).Get(k.Name)
	if apierrs.IsNotFound(err) || pod.DeletionTimestamp != nil {
		if one := c.scalers.get(backendName(k.Namespace, revision)); one != nil {
			one.send(event{kind: eventPodGone, pod: k.Name})
		}
	}
	c.viewQueue.addName(k.Namespace, revision)
}

// reconcilePod makes a plain pod run and tells how it does.
func (c *Controller) reconcilePod(ctx context.Context, k key) error {
	pod, err := c.listers.pods.Pods(k.Namespace).Get(k.Name)
	if err != nil && !apierrs.IsNotFound(err) {
		return err
	}
	running := c.pods.get(k)
	if running != nil && (err != nil || pod.DeletionTimestamp != nil || string(pod.UID) != running.uid) {
		return c.endPod(ctx, k, running, pod)
	}
	if err != nil || shownByUs(pod) || pod.DeletionTimestamp != nil {
		return nil
	}
	if running == nil {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			return nil
		}
		if running, err = c.beginPod(ctx, k, pod); err != nil || running == nil {
			return err
		}
	}
	state := running.box.instance.State()
	one := &podState{identity: running.identity, created: state.Created, started: state.Started, state: state}
	if err := c.viewPodStatus(ctx, pod, one); err != nil {
		return err
	}
	if state.Phase == sandbox.PhaseGone {
		return c.endPod(ctx, k, running, nil)
	}
	return nil
}

// beginPod creates and starts the instance. It gives nil where that has to wait; the pod says why.
func (c *Controller) beginPod(ctx context.Context, k key, pod *corev1.Pod) (*plainPod, error) {
	needs := demandOf(&pod.Spec, false)
	free := make(chan struct{}, 1)
	missing, ok := c.capacity.reserve(needs, free)
	if !ok {
		c.capacity.forget(free)
		c.podQueue.addAfter(k, time.Second)
		return nil, c.viewPodStatus(ctx, pod, &podState{created: c.now(), unschedulable: missing})
	}
	running, err := c.createPod(ctx, pod)
	if err != nil {
		c.capacity.release(needs)
		c.events.Event(pod, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		waiting := &podState{created: c.now(), state: sandbox.State{Message: err.Error()}}
		for i := range pod.Spec.Containers {
			waiting.state.Containers = append(waiting.state.Containers, sandbox.ContainerStatus{
				Name: pod.Spec.Containers[i].Name, Phase: sandbox.ContainerWaiting, Reason: "CreateContainerConfigError", Message: err.Error(),
			})
		}
		if err := c.viewPodStatus(ctx, pod, waiting); err != nil {
			return nil, err
		}
		return nil, reportedError{fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)}
	}
	running.reserved = needs
	c.pods.add(k, running)
	return running, nil
}

func (c *Controller) createPod(ctx context.Context, pod *corev1.Pod) (*plainPod, error) {
	id := identity{name: pod.Name, uid: string(pod.UID), ip: randomIP()}
	t := c.newTranslator(pod.ObjectMeta, pod.Spec, id.ip)
	t.digests = map[string]string{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			resolved, err := c.conf.Images.Resolve(ctx, oci.ResolveRequest{
				Reference: list[i].Image, Policy: pullPolicy(list[i].ImagePullPolicy), Credentials: c.pullCredentials(pod.Namespace, &pod.Spec),
			})
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", list[i].Image, err)
			}
			t.digests[list[i].Name] = resolved.String()
		}
	}
	m, err := c.boxes.create(ctx, t, map[string]string{
		labelNamespace: pod.Namespace, labelPod: pod.Name, labelPodUID: id.uid, labelIP: id.ip,
	})
	if err != nil {
		return nil, err
	}
	if err := m.Start(ctx); err != nil {
		c.boxes.discard(ctx, m)
		return nil, err
	}
	return &plainPod{uid: string(pod.UID), identity: id, box: m}, nil
}

// endPod stops the instance of a pod that is gone or on its way.
func (c *Controller) endPod(ctx context.Context, k key, running *plainPod, pod *corev1.Pod) error {
	c.pods.mu.Lock()
	if c.pods.all[k] == running {
		delete(c.pods.all, k)
	}
	c.pods.mu.Unlock()
	running.cancel()
	c.capacity.release(running.reserved)
	c.pods.jobs.Go(func() {
		stopping, cancel := lastingContext(ctx)
		defer cancel()
		if err := running.box.Stop(stopping, -1); err != nil {
			c.log.Warn("stopping the instance of a pod", "instance", k.String(), "err", err)
		}
		if pod == nil || pod.DeletionTimestamp == nil {
			return
		}
		now := int64(0)
		err := c.kube.CoreV1().Pods(k.Namespace).Delete(stopping, k.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if ignoreGone(err) != nil {
			c.log.Warn("deleting a pod that has ended", "instance", k.String(), "err", err)
		}
	})
	return nil
}

func pullPolicy(p corev1.PullPolicy) oci.Policy {
	switch p {
	case corev1.PullAlways:
		return oci.Always
	case corev1.PullNever:
		return oci.Never
	}
	return oci.IfNotPresent
}

// pullCredentials reads the pull secrets of a pod and of its service account.
func (c *Controller) pullCredentials(namespace string, pod *corev1.PodSpec) []oci.Credential {
	names := slices.Clone(pod.ImagePullSecrets)
	if account, err := c.listers.accounts.ServiceAccounts(namespace).Get(serviceAccount(pod)); err == nil {
		names = append(names, account.ImagePullSecrets...)
	}
	var all []oci.Credential
	for _, ref := range names {
		secret, err := c.listers.secrets.Secrets(namespace).Get(ref.Name)
		if err != nil {
			continue
		}
		found, err := dockerCredentials(secret)
		if err != nil {
			c.log.Warn("a pull secret is left out", "secret", namespace+"/"+ref.Name, "err", err)
			continue
		}
		all = append(all, found...)
	}
	return all
}
