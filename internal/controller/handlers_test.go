package controller

import (
	"testing"

	"knative.dev/pkg/ptr"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// TestDiffersForOwners holds that a configuration and the routes hear of what they tell about a revision, and not of each change of scale.
func TestDiffersForOwners(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1.Revision)
		want   bool
	}{
		"nothing":         {func(*v1.Revision) {}, false},
		"instances":       {func(r *v1.Revision) { r.Status.ActualReplicas, r.Status.DesiredReplicas = ptr.Int32(3), ptr.Int32(3) }, false},
		"not active":      {func(r *v1.Revision) { r.Status.MarkActiveFalse("NoTraffic", "nothing comes") }, false},
		"failed":          {func(r *v1.Revision) { r.Status.MarkContainerHealthyFalse("ExitCode1", "it crashed") }, true},
		"not known":       {func(r *v1.Revision) { r.Status.MarkContainerHealthyUnknown("Deploying", "") }, true},
		"label":           {func(r *v1.Revision) { r.Labels = map[string]string{"a": "b"} }, true},
		"annotation":      {func(r *v1.Revision) { r.Annotations = map[string]string{"a": "b"} }, true},
		"new generation":  {func(r *v1.Revision) { r.Generation++ }, true},
		"handled":         {func(r *v1.Revision) { r.Status.ObservedGeneration++ }, true},
		"another of them": {func(r *v1.Revision) { r.UID = "other" }, true},
	} {
		before := &v1.Revision{}
		before.Status.InitializeConditions()
		before.Status.MarkActiveTrue()
		before.Status.MarkContainerHealthyTrue()
		before.Status.MarkResourcesAvailableTrue()
		after := before.DeepCopy()
		c.change(after)
		if got := differsForOwners(before, after); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
