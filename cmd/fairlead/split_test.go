package main

import (
	"fmt"
	"strings"
	"testing"

	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// spell writes targets as percent:revision:tag, which is shorter to compare.
func spell(targets []servingv1.TrafficTarget) string {
	var words []string
	for _, t := range targets {
		words = append(words, fmt.Sprintf("%d:%s:%s", percentOf(t), revisionOf(t), t.Tag))
	}
	return strings.Join(words, " ")
}

func tagged(revision string, percent int64, tag string) servingv1.TrafficTarget {
	t := target(revision, percent)
	t.Tag = tag
	return t
}

func TestSplit(t *testing.T) {
	revisions := []string{"hello-00003", "hello-00002", "hello-00001"}
	latest := []servingv1.TrafficTarget{target("latest", 100)}
	for name, test := range map[string]struct {
		now       []servingv1.TrafficTarget
		to, tags  []string
		untag     []string
		want, err string
	}{
		"two shares":            {now: latest, to: []string{"hello-00001=90,latest=10"}, want: "90:hello-00001: 10:latest:"},
		"two flags":             {now: latest, to: []string{"1=90", "2=10%"}, want: "90:hello-00001: 10:hello-00002:"},
		"the rest stays":        {now: []servingv1.TrafficTarget{target("hello-00001", 100)}, to: []string{"@latest=5"}, want: "5:latest: 95:hello-00001:"},
		"nothing said before":   {to: []string{"hello-00001=20"}, want: "20:hello-00001: 80:latest:"},
		"by tag":                {now: []servingv1.TrafficTarget{target("latest", 100), tagged("hello-00002", 0, "blue")}, to: []string{"blue=100"}, want: "100:hello-00002:blue"},
		"tags stay":             {now: []servingv1.TrafficTarget{tagged("hello-00001", 100, "old"), tagged("hello-00001", 0, "stable")}, to: []string{"latest=100"}, want: "100:latest: 0:hello-00001:old 0:hello-00001:stable"},
		"zero leaves":           {now: latest, to: []string{"latest=100,hello-00001=0"}, want: "100:latest:"},
		"tag one with traffic":  {now: latest, tags: []string{"latest=now"}, want: "100:latest:now"},
		"tag one without":       {now: latest, tags: []string{"hello-00001=blue"}, want: "100:latest: 0:hello-00001:blue"},
		"a tag moves":           {now: []servingv1.TrafficTarget{target("latest", 100), tagged("hello-00001", 0, "blue")}, tags: []string{"hello-00002=blue"}, want: "100:latest: 0:hello-00002:blue"},
		"a tag is there":        {now: []servingv1.TrafficTarget{tagged("hello-00001", 100, "blue")}, tags: []string{"hello-00001=blue"}, want: "100:hello-00001:blue"},
		"untag with traffic":    {now: []servingv1.TrafficTarget{tagged("hello-00001", 100, "blue")}, untag: []string{"blue"}, want: "100:hello-00001:"},
		"untag without traffic": {now: []servingv1.TrafficTarget{target("latest", 100), tagged("hello-00001", 0, "blue")}, untag: []string{"blue"}, want: "100:latest:"},
		"too much":              {now: latest, to: []string{"hello-00001=60,hello-00002=60"}, err: "adds up to 120"},
		"too little":            {now: []servingv1.TrafficTarget{target("hello-00001", 50), target("hello-00002", 50)}, to: []string{"latest=10"}, err: "adds up to 10"},
		"too little for itself": {now: latest, to: []string{"latest=10"}, err: "adds up to 10"},
		"unknown revision":      {now: latest, to: []string{"hello-00009=100"}, err: "no revision or tag hello-00009"},
		"no percent":            {now: latest, to: []string{"latest=many"}, err: "not a percent"},
		"below zero":            {now: latest, to: []string{"latest=-1"}, err: "not a percent"},
		"twice":                 {now: latest, to: []string{"1=50,hello-00001=50"}, err: "twice"},
		"no value":              {now: latest, to: []string{"latest"}, err: "not REVISION=VALUE"},
		"empty":                 {now: latest, to: []string{""}, err: "not REVISION=VALUE"},
		"bad tag":               {now: latest, tags: []string{"latest=Blue!"}, err: "no tag"},
		"unknown tag":           {now: latest, untag: []string{"blue"}, err: "no tag blue"},
	} {
		t.Run(name, func(t *testing.T) {
			change, err := parseSplit(test.to, test.tags, test.untag)
			var got []servingv1.TrafficTarget
			if err == nil {
				got, err = change.apply("hello", test.now, revisions)
			}
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %q and error %v, want an error with %q", spell(got), err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if spell(got) != test.want {
				t.Errorf("got  %s\nwant %s", spell(got), test.want)
			}
		})
	}
}

// FuzzSplit checks that whatever a command line says, traffic that is accepted adds up to 100 percent, has no tag twice,
// and that the traffic given is left as it was.
func FuzzSplit(f *testing.F) {
	f.Add("latest=10", "hello-00001=blue", "", true)
	f.Add("1=50,2=50", "latest=now,1=old", "stable", false)
	f.Fuzz(func(t *testing.T, to, tags, untag string, pinned bool) {
		now := []servingv1.TrafficTarget{target("latest", 100), tagged("hello-00001", 0, "stable")}
		if pinned {
			now = []servingv1.TrafficTarget{tagged("hello-00001", 70, "stable"), target("hello-00002", 30)}
		}
		before := spell(now)
		list := func(text string) []string {
			if text == "" {
				return nil
			}
			return []string{text}
		}
		change, err := parseSplit(list(to), list(tags), list(untag))
		if err != nil {
			return
		}
		got, err := change.apply("hello", now, []string{"hello-00001", "hello-00002"})
		if spell(now) != before {
			t.Fatalf("the traffic given became %s", spell(now))
		}
		if err != nil {
			return
		}
		sum, seen := int64(0), map[string]bool{}
		for _, target := range got {
			sum += percentOf(target)
			if target.Tag != "" && seen[target.Tag] {
				t.Fatalf("tag %s twice in %s", target.Tag, spell(got))
			}
			seen[target.Tag] = true
		}
		if sum != 100 {
			t.Fatalf("%s adds up to %d", spell(got), sum)
		}
	})
}
