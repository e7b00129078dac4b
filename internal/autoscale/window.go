package autoscale

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/autoscaler/aggregation"
)

const bucket = time.Second

// Load is what the gateway counted over a period.
type Load struct {
	// Period that ended at the time of the record. Zero stands for a moment.
	Period time.Duration
	// Concurrency is the average number of requests at once over the period, those that wait included.
	Concurrency float64
	// Requests is how many arrived in the period.
	Requests float64
}

// averages is one of upstream's windows.
type averages interface {
	Record(time.Time, float64)
	ResizeWindow(time.Duration)
	WindowAverage(time.Time) float64
}

func newAverages(window time.Duration, weighted bool) averages {
	if weighted {
		return aggregation.NewWeightedFloat64Buckets(window, bucket)
	}
	return aggregation.NewTimedFloat64Buckets(window, bucket)
}

// windows holds the averages of one metric. Upstream's buckets are one second wide and add up what is recorded in the same second;
// here a sample may cover any period: it is spread over the seconds it covers, and a second's value is the mean over the part of it
// that is known. It implements upstream's MetricClient.
type windows struct {
	concurrencyStable, concurrencyPanic averages
	rpsStable, rpsPanic                 averages

	second  time.Time // the bucket that partial values belong to
	covered time.Duration
	area    float64 // request-seconds in that second
	value   float64 // what was recorded for that second
}

func newWindows(s Spec) *windows {
	return &windows{
		concurrencyStable: newAverages(s.StableWindow, s.weighted),
		concurrencyPanic:  newAverages(s.PanicWindow, s.weighted),
		rpsStable:         newAverages(s.StableWindow, s.weighted),
		rpsPanic:          newAverages(s.PanicWindow, s.weighted),
	}
}

func (w *windows) resize(s Spec) {
	w.concurrencyStable.ResizeWindow(s.StableWindow)
	w.concurrencyPanic.ResizeWindow(s.PanicWindow)
	w.rpsStable.ResizeWindow(s.StableWindow)
	w.rpsPanic.ResizeWindow(s.PanicWindow)
}

// moment is what a sample without a period weighs.
const moment = time.Millisecond

func (w *windows) record(now time.Time, l Load, longest time.Duration) {
	period := min(max(l.Period, moment), longest)
	for at := now.Add(-period); at.Before(now); {
		end := at.Truncate(bucket).Add(bucket)
		if end.After(now) {
			end = now
		}
		part := end.Sub(at)
		w.recordConcurrency(at, l.Concurrency, part)
		requests := l.Requests * float64(part) / float64(period)
		w.rpsStable.Record(at, requests)
		w.rpsPanic.Record(at, requests)
		at = end
	}
}

// recordConcurrency makes the value of the second the mean over its known part, by recording the difference.
func (w *windows) recordConcurrency(at time.Time, concurrency float64, part time.Duration) {
	if second := at.Truncate(bucket); !second.Equal(w.second) {
		w.second, w.covered, w.area, w.value = second, 0, 0, 0
	}
	w.area += concurrency * part.Seconds()
	w.covered += part
	mean := w.area / w.covered.Seconds()
	w.concurrencyStable.Record(at, mean-w.value)
	w.concurrencyPanic.Record(at, mean-w.value)
	w.value = mean
}

func (w *windows) StableAndPanicConcurrency(_ types.NamespacedName, now time.Time) (float64, float64, error) {
	return floor(w.concurrencyStable.WindowAverage(now)), floor(w.concurrencyPanic.WindowAverage(now)), nil
}

func (w *windows) StableAndPanicRPS(_ types.NamespacedName, now time.Time) (float64, float64, error) {
	return floor(w.rpsStable.WindowAverage(now)), floor(w.rpsPanic.WindowAverage(now)), nil
}

// floor takes away what is left over of sums and differences that should be zero.
func floor(v float64) float64 {
	if v < 1e-6 {
		return 0
	}
	return v
}
