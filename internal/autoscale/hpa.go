package autoscale

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	defaultCPUPercent = 80
	// Of the HorizontalPodAutoscaler: within a tenth of the target nothing is done; it takes five minutes of less to go down; going up
	// at most doubles, or adds four, in 15 seconds.
	hpaTolerance = 0.1
	hpaDownAfter = 5 * time.Minute
	hpaUpPeriod  = 15 * time.Second
)

var noName types.NamespacedName

func ceil(v float64) float64 { return math.Ceil(v - 1e-9) }

// hpa is the memory of the class hpa: what was recommended lately.
type hpa struct {
	recommended []recommendation
	steps       []recommendation // counts there were, for the limit going up
}

type recommendation struct {
	at    time.Time
	count int32
}

// Utilization is the HorizontalPodAutoscaler's rule without memory: how many instances bring the use per instance from usage to target.
func Utilization(ready int, usage, target float64) int32 {
	if ready == 0 || target <= 0 {
		return int32(ready)
	}
	ratio := usage / target
	if math.Abs(ratio-1) <= hpaTolerance {
		return int32(ready)
	}
	return int32(min(ceil(float64(ready)*ratio), math.MaxInt32))
}

// decide adds the memory: the highest of the recommendations of the window going down, limited growth going up.
func (h *hpa) decide(now time.Time, s Spec, st State) int32 {
	window := hpaDownAfter
	if s.StableWindow > 0 {
		window = s.StableWindow
	}
	want := Utilization(st.Ready, st.Usage, s.Target)
	h.recommended = append(forget(h.recommended, now.Add(-window)), recommendation{now, want})
	h.steps = append(forget(h.steps, now.Add(-hpaUpPeriod)), recommendation{now, int32(st.Ready)})
	highest := want
	for _, r := range h.recommended {
		highest = max(highest, r.count)
	}
	if highest > want && want < int32(st.Ready) {
		want = min(highest, int32(st.Ready))
	}
	base := h.steps[0].count
	return min(want, max(2*base, base+4))
}

func forget(list []recommendation, before time.Time) []recommendation {
	for len(list) > 0 && list[0].at.Before(before) {
		list = list[1:]
	}
	return list
}
