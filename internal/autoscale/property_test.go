package autoscale

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestDecisionsStayWithinBounds drives scalers with all kinds of annotations through random loads and re-checks after each decision what must
// hold of it.
func TestDecisionsStayWithinBounds(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		annotations := map[string]string{}
		set := func(name, value string) {
			if rnd.IntN(2) == 0 {
				annotations["autoscaling.knative.dev/"+name] = value
			}
		}
		set("min-scale", fmt.Sprint(rnd.IntN(3)))
		set("max-scale", fmt.Sprint(3+rnd.IntN(20)))
		set("initial-scale", fmt.Sprint(1+rnd.IntN(3)))
		set("activation-scale", fmt.Sprint(2+rnd.IntN(2)))
		set("window", fmt.Sprintf("%ds", 6+rnd.IntN(60)))
		set("scale-down-delay", fmt.Sprintf("%ds", rnd.IntN(60)))
		set("scale-to-zero-pod-retention-period", fmt.Sprintf("%ds", rnd.IntN(60)))
		set("metric", []string{"rps", "concurrency"}[rnd.IntN(2)])
		set("target", fmt.Sprint(1+rnd.IntN(50)))
		reachable := rnd.IntN(4) > 0
		spec := Resolve(annotations, int64(rnd.IntN(3)), reachable, config(t, nil))
		s := New(spec, 0, epoch)
		now, ready, initialized := epoch, 0, false
		for range 300 {
			period := time.Duration(rnd.IntN(3000)) * time.Millisecond
			now = now.Add(period)
			l := Load{Period: period}
			if rnd.IntN(3) > 0 {
				l.Concurrency, l.Requests = rnd.Float64()*100, float64(rnd.IntN(500))
			}
			s.Record(now, l)
			d := s.Decide(now, State{Ready: ready, Initialized: initialized})
			switch {
			case d.Desired < spec.Min:
				t.Fatalf("%v: desired %d below the minimum %d", annotations, d.Desired, spec.Min)
			case spec.Max > 0 && d.Desired > spec.Max:
				t.Fatalf("%v: desired %d above the maximum %d", annotations, d.Desired, spec.Max)
			case reachable && !initialized && d.Desired > 0 && d.Desired < min(spec.Initial, max(spec.Max, spec.Initial)):
				t.Fatalf("%v: desired %d before the initial scale %d was reached", annotations, d.Desired, spec.Initial)
			case d.Stable < 0 || d.Panic < 0:
				t.Fatalf("%v: averages %v and %v", annotations, d.Stable, d.Panic)
			case d.Again < 0:
				t.Fatalf("%v: again in %v", annotations, d.Again)
			case d.Stable > 0 && spec.Activation > 1 && d.Desired > 0 && d.Desired < spec.Activation && (spec.Max == 0 || spec.Max >= spec.Activation):
				t.Fatalf("%v: desired %d under load, below the activation scale %d", annotations, d.Desired, spec.Activation)
			}
			ready = int(d.Desired)
			initialized = initialized || ready >= int(spec.Initial)
		}
		if spec.Min > 0 {
			continue
		}
		for range 500 { // and without load it goes to zero, halving once per scale-down delay
			now = now.Add(2 * time.Second)
			s.Record(now, Load{Period: 2 * time.Second})
			ready = int(s.Decide(now, State{Ready: ready, Initialized: true}).Desired)
		}
		if ready != 0 {
			t.Errorf("%v: still %d after 1000 s without load", annotations, ready)
		}
	}
}

// TestUpdateKeepsTheLoad holds that a changed annotation or configuration does not make the scaler forget.
func TestUpdateKeepsTheLoad(t *testing.T) {
	spec := Resolve(map[string]string{"autoscaling.knative.dev/target": "10"}, 0, true, config(t, nil))
	s := New(spec, 0, epoch)
	_, now := drive(s, epoch, 70*time.Second, 5, Load{Concurrency: 35})
	s.Update(Resolve(map[string]string{"autoscaling.knative.dev/target": "5", "autoscaling.knative.dev/scale-down-delay": "10s"}, 0, true, config(t, nil)))
	if d := s.Decide(now, State{Ready: 5, Initialized: true}); d.Desired != 10 || d.Stable != 35 {
		t.Errorf("target halved: %+v, want 10 at 35", d)
	}
	s.Update(Resolve(map[string]string{"autoscaling.knative.dev/max-scale": "2"}, 0, true, config(t, map[string]string{"container-concurrency-target-default": "10"})))
	if d := s.Decide(now, State{Ready: 5, Initialized: true}); d.Desired != 2 {
		t.Errorf("max-scale set to 2: %+v", d)
	}
}

func BenchmarkDecide(b *testing.B) {
	c, err := ParseConfig(nil)
	if err != nil {
		b.Fatal(err)
	}
	s := New(Resolve(nil, 0, true, c), 1, epoch)
	now := epoch
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		s.Record(now, Load{Period: time.Second, Concurrency: 3})
		s.Decide(now, State{Ready: 1, Initialized: true})
	}
}
