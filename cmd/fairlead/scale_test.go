package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestScalePatch(t *testing.T) {
	for bounds, want := range map[string]string{
		"3":     `"autoscaling.knative.dev/max-scale":"3","autoscaling.knative.dev/maxScale":null,"autoscaling.knative.dev/min-scale":"3","autoscaling.knative.dev/minScale":null`,
		"2..":   `"autoscaling.knative.dev/max-scale":null,"autoscaling.knative.dev/maxScale":null,"autoscaling.knative.dev/min-scale":"2","autoscaling.knative.dev/minScale":null`,
		"0..10": `"autoscaling.knative.dev/max-scale":"10","autoscaling.knative.dev/maxScale":null,"autoscaling.knative.dev/min-scale":"0","autoscaling.knative.dev/minScale":null`,
	} {
		patch, err := scalePatch(bounds)
		if err != nil {
			t.Errorf("scalePatch(%q): %v", bounds, err)
			continue
		}
		got, err := json.Marshal(patch)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(got), want) || !strings.Contains(string(got), `"name":null`) {
			t.Errorf("scalePatch(%q) = %s, want it to contain %s", bounds, got, want)
		}
	}
	for _, bounds := range []string{"", "..", "x", "5..1", "-1"} {
		if got, err := scalePatch(bounds); err == nil {
			t.Errorf("scalePatch(%q) = %v, want it refused", bounds, got)
		}
	}
}

func FuzzScaleAnnotations(f *testing.F) {
	f.Add("0..10")
	f.Add("..")
	f.Fuzz(func(t *testing.T, bounds string) {
		annotations, err := scaleAnnotations(bounds)
		if err != nil {
			return
		}
		for key, value := range annotations {
			if len(value) > 4 || strings.Trim(value, "0123456789+") != "" {
				t.Errorf("scaleAnnotations(%q) sets %s to %q", bounds, key, value)
			}
		}
	})
}
