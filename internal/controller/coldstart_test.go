package controller

import (
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

func TestDescribeWake(t *testing.T) {
	at := func(ms float64) time.Time {
		return time.Unix(100, 0).Add(time.Duration(ms * float64(time.Millisecond)))
	}
	for want, trace := range map[string]gateway.WakeTrace{
		"Woken from a spare in 12.5 ms: queue 0.2 ms, start 0.8 ms, ready 10.0 ms, release 0.5 ms, first byte 1.0 ms": {
			Spare: true, Asked: at(0), Woken: at(0.2), Started: at(1), Ready: at(11), Released: at(11.5), FirstByte: at(12.5),
		},
		"Woken from an instance made for it in 40.0 ms: queue 1.0 ms, create 29.0 ms, first byte 10.0 ms": {
			Asked: at(0), Woken: at(1), Created: at(30), FirstByte: at(40),
		},
		"Woken from a spare": {Spare: true},
	} {
		if got := describeWake(trace); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
