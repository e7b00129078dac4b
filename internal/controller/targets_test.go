package controller

import (
	"log/slog"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	netfake "knative.dev/networking/pkg/client/clientset/versioned/fake"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"
)

// TestTargetsAheadOfTheInformers holds that a route whose targets no informer has yet does not say that they are missing, and says so of one that is.
func TestTargetsAheadOfTheInformers(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "n", Name: "made"}
	serving := servingfake.NewSimpleClientset(&v1.Configuration{ObjectMeta: meta}, &v1.Revision{ObjectMeta: meta})
	c := &Controller{serving: serving, log: slog.New(slog.DiscardHandler)}
	c.informers, c.listers = newInformers(fake.NewClientset(), serving, netfake.NewSimpleClientset())
	if err := c.informers.index(); err != nil {
		t.Fatal(err)
	}
	first, err := defaultSettings("localhost")
	if err != nil {
		t.Fatal(err)
	}
	c.config.Store(first)
	for _, test := range []struct {
		target v1.TrafficTarget
		reason string
	}{
		{v1.TrafficTarget{ConfigurationName: "made"}, "RevisionMissing"}, // it has none yet
		{v1.TrafficTarget{RevisionName: "made"}, "RevisionMissing"},      // it is not ready yet
		{v1.TrafficTarget{ConfigurationName: "missing"}, "ConfigurationMissing"},
		{v1.TrafficTarget{RevisionName: "gone"}, "RevisionMissing"},
	} {
		route := &v1.Route{ObjectMeta: meta, Spec: v1.RouteSpec{Traffic: []v1.TrafficTarget{test.target}}}
		route.Status.InitializeConditions()
		config, err := c.assignTraffic(c.settings().context(t.Context()), route)
		got := route.Status.GetCondition(v1.RouteConditionAllTrafficAssigned)
		missing := test.target.ConfigurationName == "missing" || test.target.RevisionName == "gone"
		if config != nil || err != nil || got.IsFalse() != missing || got.GetReason() != test.reason {
			t.Errorf("%+v: %v, %v, %+v", test.target, config, err, got)
		}
	}
}
