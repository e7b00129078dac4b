package main

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// serviceWith is a service of generation 2 with the conditions given.
func serviceWith(observed int64, ready, configured corev1.ConditionStatus) *servingv1.Service {
	s := &servingv1.Service{}
	s.Name, s.Generation, s.Status.ObservedGeneration = "web", 2, observed
	s.Status.Conditions = duckv1.Conditions{
		{Type: apis.ConditionReady, Status: ready, Reason: "RevisionMissing"},
		{Type: servingv1.ServiceConditionConfigurationsReady, Status: configured},
	}
	return s
}

// TestDoubt: a service whose Route still has the verdict on the generation before is not taken for a failed one.
func TestDoubt(t *testing.T) {
	const yes, no, unknown = corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown
	wanted := readiness{generation: 2, seen: func(*servingv1.Service) {}}
	synctest.Test(t, func(t *testing.T) {
		d := &doubt{}
		defer d.clear()
		for _, c := range []struct {
			service *servingv1.Service
			doubted bool
		}{
			{serviceWith(1, no, no), false},       // the generation before
			{serviceWith(2, no, unknown), false},  // the Route is behind
			{serviceWith(2, no, yes), true},       // the Route is behind, the Configuration ready
			{serviceWith(2, unknown, yes), false}, // the Route was looked at
			{serviceWith(2, no, no), true},        // failed
			{serviceWith(2, no, no), true},        // and stays so
			{serviceWith(2, unknown, unknown), false},
		} {
			if d.ready(c.service, wanted) {
				t.Errorf("%v is taken for ready", c.service.Status.Conditions)
			}
			if (d.over() != nil) != c.doubted {
				t.Errorf("%v, observed %d: doubted %v, want %v", c.service.Status.Conditions, c.service.Status.ObservedGeneration, d.over() != nil, c.doubted)
			}
		}
		d.ready(serviceWith(2, no, no), wanted)
		begin := time.Now()
		<-d.over()
		if time.Since(begin) != doubtTime {
			t.Errorf("believed after %v, want %v", time.Since(begin), doubtTime)
		}
		if !d.ready(serviceWith(2, yes, yes), wanted) {
			t.Error("a ready service is not taken for one")
		}
	})
}

// TestTrafficInForce: a split is in force as soon as the Route says so, whatever becomes of the newest revision.
func TestTrafficInForce(t *testing.T) {
	const yes, no, unknown = corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown
	wanted := readiness{generation: 2, traffic: true, seen: func(*servingv1.Service) {}}
	for _, c := range []struct {
		observed int64
		routes   corev1.ConditionStatus
		want     bool
	}{{1, yes, false}, {2, unknown, false}, {2, no, false}, {2, yes, true}} {
		service := serviceWith(c.observed, no, no)
		service.Status.Conditions = append(service.Status.Conditions, apis.Condition{Type: servingv1.ServiceConditionRoutesReady, Status: c.routes})
		d := &doubt{}
		if got := d.ready(service, wanted); got != c.want {
			t.Errorf("observed %d, routes ready %s: in force %v, want %v", c.observed, c.routes, got, c.want)
		}
		d.clear()
	}
}
