package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// patience is how long a wait is not talked about: what is quick needs no words. lookAgain is how often it is asked what is waited for.
const (
	patience  = time.Second
	lookAgain = 500 * time.Millisecond
)

// obstacle is what keeps a service from getting ready.
type obstacle struct {
	text string
	// ports are those that the program listens on instead of its own, separated by commas; empty where that is not the matter.
	ports string
}

// progress tells a person who waits what for, once that has taken longer than patience, and only what is new.
type progress struct {
	term  *terminal
	label string
	// portFlag says that the command has --port.
	portFlag bool
	begin    time.Time
	asked    time.Time
	last     obstacle
}

// due says whether it is time to find out what is waited for.
func (p *progress) due(now time.Time) bool {
	if now.Sub(p.begin) < patience || now.Sub(p.asked) < lookAgain {
		return false
	}
	p.asked = now
	return true
}

// tell says what is waited for.
func (p *progress) tell(o obstacle) {
	if o.text == "" || o == p.last {
		return
	}
	p.last = o
	p.term.note("%s: %s", p.label, o.text)
	if try := p.try(o); try != "" {
		p.term.note("try: %s", try)
	}
}

// try is what would help; empty where that is not known.
func (p *progress) try(o obstacle) string {
	if !p.portFlag || o.ports == "" {
		return ""
	}
	return "--port " + strings.ReplaceAll(o.ports, ",", " or --port ")
}

// patientWait is one wait for a service.
type patientWait struct {
	term    *terminal
	label   string        // begins what is told meanwhile
	timeout time.Duration // 0: not at all
	// failed is what is said when the time is over.
	failed string
	// traffic asks for no more than that the split is in force.
	traffic bool
	// portFlag says that the command has --port.
	portFlag bool
}

// await waits until a service as it is now is ready. It gives the service as it is where there is no time to wait.
func (c *client) await(ctx context.Context, service *servingv1.Service, w patientWait) (*servingv1.Service, error) {
	if w.timeout == 0 {
		return service, nil
	}
	waiting, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	p := &progress{term: w.term, label: w.label, portFlag: w.portFlag, begin: time.Now()}
	seen := func(now *servingv1.Service) {
		if p.due(time.Now()) {
			p.tell(c.obstacle(waiting, now))
		}
	}
	ready, err := c.waitReady(waiting, readiness{namespace: service.Namespace, name: service.Name, generation: service.Generation, traffic: w.traffic, seen: seen})
	if err == nil || ctx.Err() != nil {
		return ready, err
	}
	late := waiting.Err() != nil
	if !late && !errors.As(err, new(notReady)) {
		return nil, err
	}
	o := p.last
	if now, err := c.getService(ctx, service.Namespace, service.Name); err == nil {
		o = c.obstacle(ctx, now)
	}
	if late {
		err = fmt.Errorf("%s after %v", w.failed, w.timeout)
		if o.text != "" {
			err = fmt.Errorf("%w: %s", err, o.text)
		}
		err = withTry(err, "fairlead describe ksvc %s", service.Name)
	}
	if try := p.try(o); try != "" {
		err = withTry(err, "%s", try)
	}
	return nil, err
}

// listensAnnotation is in the status of a Revision whose program listens elsewhere than where requests go.
const listensAnnotation = "fairlead.dev/listens-on"

// obstacle finds what keeps a service from getting ready: what its newest revision says, else what it says itself.
func (c *client) obstacle(ctx context.Context, service *servingv1.Service) obstacle {
	if service.Status.ObservedGeneration < service.Generation {
		return obstacle{}
	}
	if name := service.Status.LatestCreatedRevisionName; name != "" && name != service.Status.LatestReadyRevisionName {
		revision, err := c.serving.ServingV1().Revisions(service.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && !revision.IsReady() {
			o := describeObstacle("revision "+name, revision.Status.GetCondition(apis.ConditionReady))
			o.ports = revision.Status.Annotations[listensAnnotation]
			return o
		}
	}
	return describeObstacle("service "+service.Name, service.Status.GetCondition(apis.ConditionReady))
}

func describeObstacle(what string, ready *apis.Condition) obstacle {
	switch {
	case ready == nil, ready.IsTrue():
		return obstacle{}
	case ready.Message != "":
		return obstacle{text: what + ": " + strings.TrimSuffix(ready.Message, ".")}
	case ready.Reason != "":
		return obstacle{text: what + ": " + ready.Reason}
	}
	return obstacle{}
}
