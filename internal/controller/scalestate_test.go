package controller

import (
	"testing"
	"time"
)

// TestTellAfter holds what may wait before the API is told: a change of scale, and a first instance that is not ready yet; never what somebody
// waits for.
func TestTellAfter(t *testing.T) {
	proving, proved := &scaleState{want: 1}, &scaleState{want: 1, ready: 1, initialized: true}
	for name, c := range map[string]struct {
		old, now *scaleState
		want     time.Duration
	}{
		"the first word":        {nil, proving, 0},
		"not ready yet":         {proving, &scaleState{want: 1, spares: 1}, tellProving},
		"proved":                {proving, proved, 0},
		"to zero":               {proved, &scaleState{initialized: true}, tellScaling},
		"woken":                 {&scaleState{initialized: true}, proved, tellScaling},
		"crashed while proving": {proving, &scaleState{want: 1, failure: &failure{code: 1}}, 0},
		"crashed later":         {proved, &scaleState{want: 1, initialized: true, failure: &failure{code: 1}}, 0},
		"no instance is made":   {proved, &scaleState{want: 1, initialized: true, waiting: "no such image"}, 0},
		"no room":               {proved, &scaleState{want: 2, initialized: true, missing: "memory"}, 0},
		"took too long":         {proving, &scaleState{exceeded: true}, 0},
	} {
		if got := tellAfter(c.old, c.now); got != c.want {
			t.Errorf("%s: told after %s, want %s", name, got, c.want)
		}
	}
}
