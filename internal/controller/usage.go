package controller

import (
	"context"
	"time"

	"github.com/fairlead-dev/fairlead/internal/autoscale"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// usageMeter averages what the instances of a revision use, for the class hpa.
type usageMeter struct {
	last    map[string]sandbox.Usage // by instance
	average float64
	known   bool // average is
}

// measure reads the use of every ready instance, when it is time and the revision is scaled by it.
func (s *scaler) measure(ctx context.Context, now time.Time) {
	if s.plan.spec.Class != autoscale.HPA || now.Sub(s.measured) < usageEvery {
		return
	}
	s.measured = now
	seen := map[string]sandbox.Usage{}
	var sum float64
	n := 0
	for _, i := range s.instances {
		if !i.ready() {
			continue
		}
		u, err := i.box.Usage(ctx)
		if err != nil {
			continue
		}
		seen[i.name] = u
		if s.plan.spec.Metric == "memory" {
			sum += float64(u.MemoryBytes) / (1 << 20)
			n++
			continue
		}
		before, known := s.usage.last[i.name]
		if passed := u.Time.Sub(before.Time); known && passed > 0 && s.plan.needs.cpuMillis > 0 {
			used := float64(u.CPU-before.CPU) / float64(passed)
			sum += used * 1000 / float64(s.plan.needs.cpuMillis) * 100
			n++
		}
	}
	s.usage.last = seen
	if n > 0 {
		s.usage.known = true
		s.usage.average = sum / float64(n)
	}
}
