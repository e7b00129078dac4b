package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/reconciler/configuration/resources"
)

func (c *Controller) configurationKind() kind[*v1.Configuration] {
	return kind[*v1.Configuration]{
		wrote: c.wrote.configurations,
		again: c.configurationQueue,
		// A service waits with its route until the name of the revision is known to be free.
		awaited: func(o *v1.Configuration) bool { return o.Spec.GetTemplate().Name != "" },
		copy:    (*v1.Configuration).DeepCopy,
		status:  func(o *v1.Configuration) any { return &o.Status },
		move:    func(from, onto *v1.Configuration) { onto.Status = from.Status },
		update: func(ctx context.Context, o *v1.Configuration) (*v1.Configuration, error) {
			return c.serving.ServingV1().Configurations(o.Namespace).UpdateStatus(ctx, o, metav1.UpdateOptions{})
		},
		get: func(ctx context.Context, k key) (*v1.Configuration, error) {
			return c.serving.ServingV1().Configurations(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		},
	}
}

func (c *Controller) reconcileConfiguration(ctx context.Context, k key) error {
	stored, err := c.listers.configurations.Configurations(k.Namespace).Get(k.Name)
	if apierrs.IsNotFound(err) {
		c.wrote.configurations.forget(k)
		return nil
	} else if err != nil {
		return err
	}
	if stored.DeletionTimestamp != nil {
		return nil
	}
	ctx = c.settings().context(ctx)
	if err := process(ctx, c, c.configurationKind(), stored, c.makeConfiguration); err != nil {
		return err
	}
	return c.collectRevisions(ctx, stored)
}

// makeConfiguration keeps a revision for the current generation and says which revision is the latest created
// and the latest ready one.
func (c *Controller) makeConfiguration(ctx context.Context, config *v1.Configuration) error {
	latest, named, err := c.latestCreated(config)
	switch {
	case apierrs.IsNotFound(err):
		latest, err = c.createRevision(ctx, config)
		if apierrs.IsAlreadyExists(err) {
			return fmt.Errorf("creating revision: %w", err)
		} else if err != nil {
			c.events.Eventf(config, corev1.EventTypeWarning, "CreationFailed", "Failed to create Revision: %v", err)
			config.Status.MarkRevisionCreationFailed(err.Error())
			return fmt.Errorf("creating revision: %w", err)
		}
	case apierrs.IsAlreadyExists(err):
		config.Status.MarkRevisionCreationFailed(err.Error())
		return nil
	case err != nil:
		return fmt.Errorf("reading revision: %w", err)
	}
	config.Status.SetLatestCreatedRevisionName(latest.Name)
	c.tellLatest(config, latest)
	return c.setLatestReady(config, latest, named)
}

// tellLatest takes over what the latest created revision says of itself.
func (c *Controller) tellLatest(config *v1.Configuration, latest *v1.Revision) {
	ready := latest.Status.GetCondition(v1.RevisionConditionReady)
	switch {
	case ready.IsTrue() && config.Status.LatestReadyRevisionName == "":
		c.events.Event(config, corev1.EventTypeNormal, "ConfigurationReady", "Configuration becomes ready")
	case ready.IsFalse():
		before := config.Status.GetCondition(v1.ConfigurationConditionReady)
		config.Status.MarkLatestCreatedFailed(latest.Name, ready.GetMessage())
		if equality.Semantic.DeepEqual(before, config.Status.GetCondition(v1.ConfigurationConditionReady)) {
			return
		}
		if latest.Name == config.Status.LatestReadyRevisionName {
			c.events.Eventf(config, corev1.EventTypeWarning, "LatestReadyFailed", "Latest ready revision %q has failed", latest.Name)
		} else {
			c.events.Eventf(config, corev1.EventTypeWarning, "LatestCreatedFailed", "Latest created revision %q has failed", latest.Name)
		}
	}
}

// latestCreated gives the revision of the current generation and whether the user named it.
func (c *Controller) latestCreated(config *v1.Configuration) (*v1.Revision, bool, error) {
	if rev, err := c.namedRevision(config); rev != nil || err != nil {
		return rev, true, err
	}
	generation := resources.RevisionLabelValueForKey(serving.ConfigurationGenerationLabelKey, config)
	list, err := indexed[*v1.Revision](c.informers.revisions, byConfiguration, config.Namespace, config.Name)
	if err != nil {
		return nil, false, fmt.Errorf("listing revisions of configuration %q: %w", config.Name, err)
	}
	for _, rev := range list {
		if rev.Labels[serving.ConfigurationGenerationLabelKey] == generation {
			return rev, false, nil
		}
	}
	return nil, false, apierrs.NewNotFound(v1.Resource("revisions"), "revision for "+config.Name)
}

func (c *Controller) createRevision(ctx context.Context, config *v1.Configuration) (*v1.Revision, error) {
	want := resources.MakeRevision(ctx, config.DeepCopy(), c.now())
	rev, err := c.serving.ServingV1().Revisions(config.Namespace).Create(ctx, want, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	c.events.Eventf(config, corev1.EventTypeNormal, "Created", "Created Revision %q", rev.Name)
	return rev, nil
}

// setLatestReady finds the newest ready revision from the latest ready one to the current generation.
func (c *Controller) setLatestReady(config *v1.Configuration, latest *v1.Revision, named bool) error {
	list, err := indexed[*v1.Revision](c.informers.revisions, byConfiguration, config.Namespace, config.Name)
	if err != nil {
		return fmt.Errorf("listing revisions of configuration %q: %w", config.Name, err)
	}
	oldest := c.oldestCandidate(config)
	list = slices.DeleteFunc(list, func(rev *v1.Revision) bool {
		if named && rev.Name == latest.Name {
			return false
		}
		generation, err := configurationGeneration(rev)
		return oldest != 0 && (err != nil || generation < oldest || generation > config.Generation)
	})
	byName := config.Spec.Template.Name
	slices.SortStableFunc(list, func(a, b *v1.Revision) int {
		if (a.Name == byName) != (b.Name == byName) {
			if a.Name == byName {
				return -1
			}
			return 1
		}
		ga, _ := configurationGeneration(a)
		gb, _ := configurationGeneration(b)
		return cmp.Compare(gb, ga)
	})
	i := slices.IndexFunc(list, (*v1.Revision).IsReady)
	if i < 0 {
		return nil
	}
	old := config.Status.LatestReadyRevisionName
	config.Status.SetLatestReadyRevisionName(list[i].Name)
	if old != list[i].Name {
		c.events.Eventf(config, corev1.EventTypeNormal, "LatestReadyUpdate", "LatestReadyRevisionName updated to %q", list[i].Name)
	}
	return nil
}

// oldestCandidate is the generation of the latest ready revision: traffic never goes back behind it by itself.
// 0 means that every revision is a candidate.
func (c *Controller) oldestCandidate(config *v1.Configuration) int64 {
	if config.Status.LatestReadyRevisionName == "" {
		return 0
	}
	rev, err := c.listers.revisions.Revisions(config.Namespace).Get(config.Status.LatestReadyRevisionName)
	if err != nil {
		return 0
	}
	generation, err := configurationGeneration(rev)
	if err != nil {
		return config.Generation
	}
	return generation
}

func configurationGeneration(rev *v1.Revision) (int64, error) {
	return strconv.ParseInt(rev.Labels[serving.ConfigurationGenerationLabelKey], 10, 64)
}
