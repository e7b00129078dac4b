package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"knative.dev/pkg/apis"
)

// TestProgress waits for something quick without a word, and for something slow with one for each piece of news.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		p := &progress{term: &terminal{err: &said}, label: "Waiting", portFlag: true, begin: time.Now()}
		asked := 0
		wait := func(d time.Duration, o obstacle) string {
			said.Reset()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(lookAgain / 10) {
				if p.due(time.Now()) {
					asked++
					p.tell(o)
				}
			}
			return said.String()
		}
		starting := obstacle{text: "revision a-00001: Deploying"}
		if got := wait(patience-time.Millisecond, starting); got != "" || asked != 0 {
			t.Errorf("within %v: %q, asked %d times", patience, got, asked)
		}
		if got := wait(2*time.Second, starting); got != "Waiting: revision a-00001: Deploying\n" || asked > 5 {
			t.Errorf("later: %q, asked %d times", got, asked)
		}
		stray := obstacle{text: "revision a-00001: nothing listens on port 8080; the program listens on port 3000", ports: "3000"}
		if got := wait(2*time.Second, stray); got != "Waiting: "+stray.text+"\ntry: --port 3000\n" {
			t.Errorf("news: %q", got)
		}
		if got := wait(2*time.Second, obstacle{}); got != "" {
			t.Errorf("nothing: %q", got)
		}
		stray.ports = "3000,9229"
		if got := p.try(stray); got != "--port 3000 or --port 9229" {
			t.Errorf("two ports: %q", got)
		}
		p.portFlag = false
		if got := p.try(stray); got != "" {
			t.Errorf("a command without --port says %q", got)
		}
	})
}

func TestDescribeObstacle(t *testing.T) {
	for _, test := range []struct {
		condition *apis.Condition
		want      string
	}{
		{nil, ""},
		{&apis.Condition{Status: "True", Message: "fine"}, ""},
		{&apis.Condition{Status: "Unknown", Reason: "Deploying"}, "revision a: Deploying"},
		{&apis.Condition{Status: "Unknown", Reason: "Deploying", Message: "It takes its time."}, "revision a: It takes its time"},
		{&apis.Condition{Status: "Unknown"}, ""},
	} {
		if got := describeObstacle("revision a", test.condition).text; got != test.want {
			t.Errorf("%+v: %q, want %q", test.condition, got, test.want)
		}
	}
}
