package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/gc"
)

// collectRevisions deletes the revisions of a configuration that config-gc says nobody needs any more.
func (c *Controller) collectRevisions(ctx context.Context, config *v1.Configuration) error {
	all, err := indexed[*v1.Revision](c.informers.revisions, byConfiguration, config.Namespace, config.Name)
	if err != nil {
		return fmt.Errorf("listing revisions of configuration %q: %w", config.Name, err)
	}
	all = slices.DeleteFunc(all, func(rev *v1.Revision) bool { return newest(config, rev) })
	for _, rev := range collectable(c.settings().gc, all, config.Status.LatestReadyRevisionName, c.now()) {
		err := c.serving.ServingV1().Revisions(rev.Namespace).Delete(ctx, rev.Name, metav1.DeleteOptions{})
		if ignoreGone(err) != nil {
			return fmt.Errorf("deleting unused revision %q: %w", rev.Name, err)
		}
		c.log.Info("deleted an unused revision", "revision", rev.Namespace+"/"+rev.Name)
	}
	return nil
}

// collectable chooses the revisions to delete: those unused for too long, and the longest unused above the
// maximum, but always so that the minimum remains. Revisions that a route uses, that are the latest ready one or
// that carry the annotation serving.knative.dev/no-gc are never chosen.
func collectable(cfg *gc.Config, all []*v1.Revision, latestReady string, now time.Time) []*v1.Revision {
	keep, most := int(cfg.MinNonActiveRevisions), int(cfg.MaxNonActiveRevisions)
	if most == gc.Disabled && cfg.RetainSinceCreateTime == gc.Disabled && cfg.RetainSinceLastActiveTime == gc.Disabled {
		return nil
	}
	unused := slices.DeleteFunc(all, func(rev *v1.Revision) bool {
		return rev.Name == latestReady || rev.DeletionTimestamp != nil || rev.GetRoutingState() != v1.RoutingStateReserve ||
			strings.EqualFold(rev.Annotations[serving.RevisionPreservedAnnotationKey], "true")
	})
	if len(all) <= keep || len(unused) <= keep {
		return nil
	}
	slices.SortStableFunc(unused, func(a, b *v1.Revision) int {
		ga, _ := configurationGeneration(a)
		gb, _ := configurationGeneration(b)
		return cmp.Or(lastActive(a).Compare(lastActive(b)), cmp.Compare(ga, gb)) // times are of whole seconds
	})
	var chosen, fresh []*v1.Revision
	for _, rev := range unused {
		if len(chosen) < len(unused)-keep && stale(cfg, rev, now) {
			chosen = append(chosen, rev)
		} else {
			fresh = append(fresh, rev)
		}
	}
	if len(chosen) >= len(unused)-keep || most == gc.Disabled || len(fresh) <= most {
		return chosen
	}
	return append(chosen, fresh[:len(fresh)-most]...)
}

// newest tells a revision that the configuration has just made, or knows as its latest: its marks may not be there yet.
func newest(config *v1.Configuration, rev *v1.Revision) bool {
	if rev.Name == config.Status.LatestCreatedRevisionName || rev.Name == config.Spec.Template.Name {
		return true
	}
	generation, err := configurationGeneration(rev)
	return err == nil && generation >= config.Generation
}

func stale(cfg *gc.Config, rev *v1.Revision, now time.Time) bool {
	sinceCreate, sinceActive := cfg.RetainSinceCreateTime, cfg.RetainSinceLastActiveTime
	if sinceCreate == gc.Disabled && sinceActive == gc.Disabled {
		return false
	}
	if sinceCreate != gc.Disabled && now.Sub(rev.CreationTimestamp.Time) < sinceCreate {
		return false
	}
	return sinceActive == gc.Disabled || now.Sub(lastActive(rev)) >= sinceActive
}

func lastActive(rev *v1.Revision) time.Time {
	if t := rev.GetRoutingStateModified(); !t.IsZero() {
		return t
	}
	return rev.CreationTimestamp.Time
}
