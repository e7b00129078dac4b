package controller

import (
	"errors"
	"strings"
	"testing"

	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

func TestMissingImageIsTold(t *testing.T) {
	for _, c := range []struct{ image, reason string }{
		{"example.com/hello", v1.ReasonContainerMissing},
		{"example.com/hello@sha256:" + strings.Repeat("0", 64), "ErrImagePull"},
	} {
		var status v1.RevisionStatus
		status.InitializeConditions()
		(&imageError{c.image, errors.New("not found")}).mark(&status)
		ready := status.GetCondition(v1.RevisionConditionReady)
		if !ready.IsFalse() || ready.Reason != c.reason || !strings.Contains(ready.Message, c.image) || !strings.Contains(ready.Message, "not found") {
			t.Errorf("%s: Ready = %v", c.image, ready)
		}
	}
}

// TestServiceThroughGateway holds that a Service that leads to the gateway shows its address and no Pod.
func TestServiceThroughGateway(t *testing.T) {
	c := &Controller{conf: Config{GatewayAddress: "127.0.0.1"}}
	pods := c.throughGateway().pods
	if len(pods) != 1 || pods[0].ip != "127.0.0.1" || !pods[0].state.Ready || podOf(&pods[0], "default") != nil {
		t.Errorf("pods = %+v", pods)
	}
	one := podState{identity: identity{name: "hello-00001-deployment-x", ip: "10.128.0.1"}}
	if ref := podOf(&one, "default"); ref == nil || ref.Name != one.name || ref.Kind != "Pod" {
		t.Errorf("reference = %+v", ref)
	}
}
