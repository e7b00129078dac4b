package controller

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/gc"
)

func TestCollectable(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	revisions := func(states ...v1.RoutingState) []*v1.Revision {
		var all []*v1.Revision
		for i, state := range states {
			at := now.Add(time.Duration(i-len(states)) * time.Hour)
			rev := &v1.Revision{ObjectMeta: metav1.ObjectMeta{
				Name: fmt.Sprint("r", i+1), CreationTimestamp: metav1.NewTime(at),
				Labels: map[string]string{serving.ConfigurationGenerationLabelKey: strconv.Itoa(i + 1)},
			}}
			rev.SetRoutingState(state, at)
			all = append(all, rev)
		}
		return all
	}
	const active, reserve = v1.RoutingStateActive, v1.RoutingStateReserve
	off := gc.Config{RetainSinceCreateTime: gc.Disabled, RetainSinceLastActiveTime: gc.Disabled, MaxNonActiveRevisions: gc.Disabled}
	for name, c := range map[string]struct {
		cfg  gc.Config
		all  []*v1.Revision
		want []string
	}{
		"all off":            {off, revisions(reserve, reserve, active), nil},
		"too old":            {gc.Config{RetainSinceCreateTime: 90 * time.Minute, RetainSinceLastActiveTime: 90 * time.Minute, MaxNonActiveRevisions: gc.Disabled}, revisions(reserve, reserve, reserve, active), []string{"r1", "r2", "r3"}},
		"too old, kept":      {gc.Config{RetainSinceCreateTime: 90 * time.Minute, RetainSinceLastActiveTime: 90 * time.Minute, MinNonActiveRevisions: 2, MaxNonActiveRevisions: gc.Disabled}, revisions(reserve, reserve, reserve, active), []string{"r1"}},
		"too many":           {gc.Config{RetainSinceCreateTime: gc.Disabled, RetainSinceLastActiveTime: gc.Disabled, MaxNonActiveRevisions: 1}, revisions(reserve, reserve, reserve, active), []string{"r1", "r2"}},
		"in use":             {gc.Config{RetainSinceCreateTime: gc.Disabled, RetainSinceLastActiveTime: gc.Disabled}, revisions(active, active, active), nil},
		"not yet marked":     {gc.Config{RetainSinceCreateTime: gc.Disabled, RetainSinceLastActiveTime: gc.Disabled}, revisions(v1.RoutingStatePending, active), nil},
		"latest ready stays": {gc.Config{RetainSinceCreateTime: gc.Disabled, RetainSinceLastActiveTime: gc.Disabled}, revisions(reserve, reserve, reserve, reserve), []string{"r1", "r2", "r3"}},
	} {
		var got []string
		for _, rev := range collectable(&c.cfg, c.all, "r4", now) {
			got = append(got, rev.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestSettingsFollowAndRefuse(t *testing.T) {
	s, err := defaultSettings("example.test")
	if err != nil {
		t.Fatal(err)
	}
	if d := s.domain.LookupDomainForLabels(nil); d != "example.test" {
		t.Errorf("default domain %q", d)
	}
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config-autoscaler", Namespace: systemNamespace}, Data: map[string]string{"stable-window": "20s"}}
	next, err := s.with(m, "example.test")
	if err != nil || next.autoscaler.StableWindow != 20*time.Second || s.autoscaler.StableWindow == 20*time.Second {
		t.Errorf("window %v, %v", next.autoscaler.StableWindow, err)
	}
	m.Data["stable-window"] = "a while"
	if again, err := next.with(m, "example.test"); err == nil || again != next {
		t.Error("what cannot be read was put in force")
	}
}
