package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

func TestMappedRulesKeepThePolicy(t *testing.T) {
	target := []gateway.Rule{{Path: "/a", SetHeaders: map[string]string{"A": "1"}}, {Path: "/b"}}
	m := &tableMaker{inside: map[string]gateway.Route{
		"guarded.default.svc.cluster.local": {Rules: target, AllowFrom: []string{"default/friend"}},
		"open.default.svc.cluster.local":    {Rules: target},
	}}
	for host, want := range map[string][]string{
		"guarded.default.svc.cluster.local": {"default/friend"}, "open.default.svc.cluster.local": nil,
	} {
		rules := m.mappedRules(gateway.Rule{}, &netv1alpha1.HTTPIngressPath{RewriteHost: host})
		if len(rules) != len(target) {
			t.Fatalf("%s: %d rules, want %d", host, len(rules), len(target))
		}
		for _, rule := range rules {
			if diff := cmp.Diff(want, rule.AllowFrom); diff != "" || rule.RewriteHost != host {
				t.Errorf("%s: rewritten to %q, policy %s", host, rule.RewriteHost, diff)
			}
		}
	}
	if target[0].AllowFrom != nil || target[0].RewriteHost != "" {
		t.Errorf("the target's own rules were changed: %+v", target[0])
	}
}
