package controller

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

func demandedRevision(namespace, service string) *v1.Revision {
	return &v1.Revision{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: service + "-00001", Labels: map[string]string{serving.ServiceLabelKey: service},
	}}
}

// TestViewDemand holds for which revisions views are wanted, by what was asked for, and for how long.
func TestViewDemand(t *testing.T) {
	const a, b, other, both, none = "a", "b", "other", "ab", ""
	for text, want := range map[string]string{
		"n/a-00001": a, "n/b-00001-private": b, "n/a-00001-deployment": a, "other/a-00001": other, "n/a": none,
		"n?": both, "other?": other, "?": "abother",
		"n?serving.knative.dev/service=a": a, "n?serving.knative.dev/revision=b-00001": b, "?serving.knative.dev/service in (a)": "aother",
		"n?kubernetes.io/service-name=x": both, "n?serving.knative.dev/service=c": none,
	} {
		now := time.Unix(1000, 0)
		d := newViewDemand(func() time.Time { return now })
		done := d.ask(parseViewQuery(t, text))
		wanted := func() (names string) {
			for _, rev := range []*v1.Revision{demandedRevision("n", "a"), demandedRevision("n", "b"), demandedRevision("other", "a")} {
				if d.wants(rev) && rev.Namespace == "other" {
					names += "other"
				} else if d.wants(rev) {
					names += rev.Labels[serving.ServiceLabelKey]
				}
			}
			return names
		}
		now = now.Add(2 * showFor)
		if got := wanted(); got != want {
			t.Errorf("%s: wanted are %q, want %q", text, got, want)
		}
		done()
		now = now.Add(showFor - 1)
		if got := wanted(); got != want {
			t.Errorf("%s: soon after, wanted are %q, want %q", text, got, want)
		}
		now = now.Add(1)
		if got := wanted(); got != none {
			t.Errorf("%s: long after, wanted are %q", text, got)
		}
		now = now.Add(sweepEvery)
		d.ask(ViewQuery{Namespace: "n", Name: "unheard"})
		if len(d.named)+len(d.wide) != 1 {
			t.Errorf("%s: what was asked long ago is remembered", text)
		}
	}
}

func parseViewQuery(t *testing.T, text string) ViewQuery {
	t.Helper()
	for i := range text {
		switch text[i] {
		case '?':
			selector, err := labels.Parse(text[i+1:])
			if err != nil {
				t.Fatal(err)
			}
			return ViewQuery{Namespace: text[:i], Selector: selector}
		case '/':
			return ViewQuery{Namespace: text[:i], Name: text[i+1:], Selector: labels.Everything()}
		}
	}
	t.Fatalf("no query: %s", text)
	return ViewQuery{}
}

// TestViewDemandWaits holds that a request waits for all that it asks for, and for nothing that is there.
func TestViewDemandWaits(t *testing.T) {
	d := newViewDemand(time.Now)
	revisions := []*v1.Revision{demandedRevision("n", "a"), demandedRevision("n", "b"), demandedRevision("n", "c")}
	names := make([]key, len(revisions))
	for i, rev := range revisions {
		names[i] = key{Namespace: rev.Namespace, Name: rev.Name}
	}
	d.looked(names[0], true)
	looks := make(chan key, len(names))
	waited := make(chan struct{})
	go func() {
		d.wait(t.Context(), revisions, func(k key) { looks <- k })
		close(waited)
	}()
	if first, second := <-looks, <-looks; first != names[1] || second != names[2] || len(looks) > 0 {
		t.Errorf("looked at %v and %v", first, second)
	}
	d.looked(names[1], true)
	if d.awaited(names[1]) || !d.awaited(names[2]) {
		t.Error("the request waits for what is there, or not for what is missing")
	}
	d.looked(names[2], false) // as far as it can be
	<-waited
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	d.wait(ended, revisions, func(key) {}) // of the three, the last is not there
	if !d.awaited(names[2]) || d.awaited(names[0]) {
		t.Error("what was not written counts as written, or the other way round")
	}
	d.end()
	d.wait(t.Context(), revisions, func(key) { t.Error("something is looked at after the end") })
}
