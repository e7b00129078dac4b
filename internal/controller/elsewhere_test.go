package controller

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

func elsewhereAt(port uint16) *sandbox.Elsewhere {
	return &sandbox.Elsewhere{Port: 8080, Listens: []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), port)}}
}

// TestScalerTellsWhereAProgramListens keeps telling it after the deadline, and no more once an instance is ready.
func TestScalerTellsWhereAProgramListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idleBench(t, nil, nil)
		b.machine.warm = 24 * time.Hour
		var mu sync.Mutex
		var told []report
		b.report = func(_ *plan, r report) {
			mu.Lock()
			defer mu.Unlock()
			if r.warning {
				told = append(told, r)
			}
		}
		b.begin()
		defer b.end()
		time.Sleep(2 * time.Second)
		if e := b.state().elsewhere; e != nil {
			t.Fatalf("elsewhere %+v before anybody looked", e)
		}
		listens := func(e *sandbox.Elsewhere) func(*sandbox.State) {
			return func(s *sandbox.State) { s.Containers[0].Elsewhere = e }
		}
		b.machine.boxes[0].set(listens(elsewhereAt(3000)))
		b.machine.boxes[0].set(listens(elsewhereAt(3000)))
		time.Sleep(time.Second)
		if e := b.state().elsewhere; e == nil || e.Ports()[0] != 3000 {
			t.Fatalf("elsewhere %+v, want port 3000", e)
		}
		if len(told) != 1 || told[0].reason != "Unhealthy" || !told[0].runs || !strings.Contains(told[0].message, "port 3000") {
			t.Errorf("told %+v", told)
		}
		time.Sleep(2 * time.Minute)
		s := b.state()
		if !s.exceeded || s.want != 0 || s.elsewhere == nil {
			t.Errorf("after the deadline: %+v", s)
		}
		if last := b.load.failed; len(last) == 0 || !strings.Contains(last[len(last)-1], "port 3000") {
			t.Errorf("requests that wait were told %q", last)
		}
		b.machine.mu.Lock()
		b.machine.warm = 0
		b.machine.mu.Unlock()
		b.load.put(1, 0)
		b.wake()
		time.Sleep(time.Second)
		if s := b.state(); s.ready != 1 || s.elsewhere != nil {
			t.Errorf("ready at last: %+v", s)
		}
	})
}

func TestMarkElsewhere(t *testing.T) {
	var waiting, failed v1.RevisionStatus
	for _, s := range []*v1.RevisionStatus{&waiting, &failed} {
		s.InitializeConditions()
		s.MarkContainerHealthyUnknown(v1.ReasonDeploying, "")
	}
	failed.MarkResourcesAvailableFalse(v1.ReasonProgressDeadlineExceeded, "Initial scale was never achieved")
	markElsewhere(&waiting, elsewhereAt(3000))
	markElsewhere(&failed, elsewhereAt(3000))
	const what = "nothing listens on port 8080; the program listens on port 3000"
	if c := waiting.GetCondition(v1.RevisionConditionReady); !c.IsUnknown() || c.Reason != v1.ReasonDeploying || c.Message != what {
		t.Errorf("while it waits: %+v", c)
	}
	if c := failed.GetCondition(v1.RevisionConditionReady); !c.IsFalse() || c.Reason != v1.ReasonProgressDeadlineExceeded || c.Message != "Initial scale was never achieved: "+what {
		t.Errorf("when it failed: %+v", c)
	}
	if got := failed.Annotations[listensAnnotation]; got != "3000" {
		t.Errorf("annotation %q", got)
	}
	markElsewhere(&waiting, nil)
	if _, there := waiting.Annotations[listensAnnotation]; there {
		t.Error("the annotation stays when it is no longer so")
	}
}
