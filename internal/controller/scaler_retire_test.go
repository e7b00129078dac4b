package controller

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestScalerRetires holds that a revision that is deleted leaves nothing behind.
func TestScalerRetires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, map[string]string{"autoscaling.knative.dev/min-scale": "3"}, nil)
		time.Sleep(time.Second)
		b.expect(3, 3, 3)
		b.retire()
		<-b.ended
		if len(b.machine.stopped) != 3 || b.load.routed() != 0 {
			t.Errorf("stopped %d, still routed %d", len(b.machine.stopped), b.load.routed())
		}
		if used := b.capacity.used; used != (demand{}) {
			t.Errorf("capacity was not given back: %+v", used)
		}
		b.stop()
	})
}

// TestScalerRetiresWhileItMakes holds that the end of the daemon bears a creation that is cut off by it, of a revision that is deleted.
func TestScalerRetiresWhileItMakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idleBench(t, map[string]string{"autoscaling.knative.dev/min-scale": "1"}, nil)
		b.machine.create = time.Hour
		b.begin()
		time.Sleep(time.Second)
		b.retire()
		time.Sleep(time.Second)
		b.stop()
		if n := b.machine.made; n != 0 {
			t.Errorf("%d instances were made", n)
		}
	})
}
