package controller

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestScalerTellsOfBurstCapacity holds that the target burst capacity decides whether requests are said to go through the gateway.
func TestScalerTellsOfBurstCapacity(t *testing.T) {
	for _, c := range []struct {
		target string
		short  bool
	}{{"-1", true}, {"0", false}, {"5", false}, {"500", true}} {
		t.Run(c.target, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, map[string]string{
					"autoscaling.knative.dev/min-scale": "1", "autoscaling.knative.dev/target-burst-capacity": c.target,
				}, nil)
				defer b.end()
				time.Sleep(10 * time.Second)
				if got := b.state().short; got != c.short {
					t.Errorf("one instance for 100 requests, a burst of %s more: short = %t, want %t", c.target, got, c.short)
				}
			})
		})
	}
}

// TestScalerShowsTheInitialScale holds that the initial scale, once reached, stays long enough to be seen.
func TestScalerShowsTheInitialScale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, map[string]string{"autoscaling.knative.dev/initial-scale": "3"}, nil)
		defer b.end()
		time.Sleep(2 * time.Second)
		b.expect(3, 3, 3)
		time.Sleep(10 * time.Second)
		b.expect(1, 1, 1)
	})
}
