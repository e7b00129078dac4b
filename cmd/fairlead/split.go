package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// latestRevision is how people write "whichever revision is the latest ready one", now and later.
const latestRevision = "latest"

// split is a change of traffic as a command line gives it.
type split struct {
	// percent is the share of each revision; what is not named gets nothing.
	percent []assignment
	// tags gives revisions a name of their own, untag takes names away.
	tags  []assignment
	untag []string
}

// assignment is REVISION=VALUE. A revision is written as its name, its number, its tag or "latest".
type assignment struct{ revision, value string }

// parseAssignments reads REVISION=VALUE, several with commas between them.
func parseAssignments(flag, text string) ([]assignment, error) {
	var list []assignment
	for field := range strings.SplitSeq(text, ",") {
		revision, value, found := strings.Cut(strings.TrimSpace(field), "=")
		revision, value = strings.TrimPrefix(strings.TrimSpace(revision), "@"), strings.TrimSpace(value)
		if !found || revision == "" || value == "" {
			return nil, usagef("--%s %q: %q is not REVISION=VALUE", flag, text, field)
		}
		list = append(list, assignment{revision, value})
	}
	return list, nil
}

// parseSplit reads the flags of `fairlead traffic`.
func parseSplit(to []string, tags []string, untag []string) (split, error) {
	var s split
	for _, text := range to {
		list, err := parseAssignments("to", text)
		if err != nil {
			return split{}, withTry(err, "--to latest=90,hello-00001=10")
		}
		s.percent = append(s.percent, list...)
	}
	for _, text := range tags {
		list, err := parseAssignments("tag", text)
		if err != nil {
			return split{}, withTry(err, "--tag hello-00001=blue")
		}
		for _, a := range list {
			if problems := validation.IsDNS1035Label(a.value); len(problems) > 0 || len(a.value) > 40 {
				return split{}, withTry(usagef("--tag %q: %q is no tag: at most 40 lower-case letters, digits and dashes, a letter first", text, a.value), "--tag hello-00001=blue")
			}
			if slices.ContainsFunc(s.tags, func(b assignment) bool { return b.value == a.value && b.revision != a.revision }) {
				return split{}, withTry(usagef("--tag gives %s to two revisions", a.value), "a tag of its own for each: --tag hello-00001=blue,hello-00002=green")
			}
			s.tags = append(s.tags, a)
		}
	}
	s.untag = untag
	return s, nil
}

// empty says that nothing is to change.
func (s split) empty() bool { return len(s.percent)+len(s.tags)+len(s.untag) == 0 }

// routes is the traffic of a service while it is being changed: one entry per revision and tag.
type routes struct {
	service   string
	revisions []string
	targets   []servingv1.TrafficTarget
}

// apply works a change out over the traffic that is asked for now. revisions are the names of those that exist. The
// result is what spec.traffic should be.
func (s split) apply(service string, now []servingv1.TrafficTarget, revisions []string) ([]servingv1.TrafficTarget, error) {
	r := routes{service: service, revisions: revisions, targets: slices.Clone(now)}
	if len(r.targets) == 0 {
		r.targets = []servingv1.TrafficTarget{target(latestRevision, 100)}
	}
	for _, tag := range s.untag {
		if err := r.untag(tag); err != nil {
			return nil, err
		}
	}
	if len(s.percent) > 0 {
		if err := r.divide(s.percent); err != nil {
			return nil, err
		}
	}
	for _, a := range s.tags {
		if err := r.tag(a); err != nil {
			return nil, err
		}
	}
	return r.targets, nil
}

func (r *routes) untag(tag string) error {
	i := slices.IndexFunc(r.targets, func(t servingv1.TrafficTarget) bool { return t.Tag == tag })
	if i < 0 {
		return withTry(fmt.Errorf("service %s has no tag %s", r.service, tag), "fairlead traffic %s", r.service)
	}
	if percentOf(r.targets[i]) == 0 {
		r.targets = slices.Delete(r.targets, i, i+1)
		return nil
	}
	r.targets[i].Tag = ""
	return nil
}

// divide gives each revision its percent. What is missing to 100 goes to the revision that has the traffic now, if that
// is exactly one and it is not named itself.
func (r *routes) divide(percent []assignment) error {
	shares := map[string]int64{}
	var order []string
	var sum int64
	for _, a := range percent {
		revision, err := r.find(a.revision)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(a.value, "%"), 10, 32)
		if err != nil || n < 0 || n > 100 {
			return withTry(usagef("--to %s=%s: %q is not a percent from 0 to 100", a.revision, a.value, a.value), "--to %s=10", a.revision)
		}
		if _, twice := shares[revision]; twice {
			return usagef("--to names revision %s twice", revision)
		}
		shares[revision] = n
		order = append(order, revision)
		sum += n
	}
	if sum < 100 {
		rest, err := r.restOf(shares, sum)
		if err != nil {
			return err
		}
		shares[rest] = 100 - sum
		order = append(order, rest)
	}
	if sum > 100 {
		return withTry(usagef("--to adds up to %d percent, not 100", sum), "--to latest=90,%s-00001=10", r.service)
	}
	r.replace(order, shares)
	return nil
}

func (r *routes) restOf(shares map[string]int64, sum int64) (string, error) {
	var serving []string
	for _, t := range r.targets {
		if name := revisionOf(t); percentOf(t) > 0 && !slices.Contains(serving, name) {
			serving = append(serving, name)
		}
	}
	if len(serving) == 1 {
		if _, named := shares[serving[0]]; !named {
			return serving[0], nil
		}
	}
	return "", withTry(usagef("--to adds up to %d percent, not 100", sum), "name every revision: fairlead revisions %s", r.service)
}

// replace sets the shares and keeps every tag, with the share on the first entry of a revision.
func (r *routes) replace(order []string, shares map[string]int64) {
	var kept []servingv1.TrafficTarget
	for _, name := range order {
		if shares[name] > 0 {
			kept = append(kept, target(name, shares[name]))
		}
	}
	for _, t := range r.targets {
		if t.Tag == "" {
			continue
		}
		i := slices.IndexFunc(kept, func(k servingv1.TrafficTarget) bool { return k.Tag == "" && revisionOf(k) == revisionOf(t) })
		if i >= 0 {
			kept[i].Tag = t.Tag
			continue
		}
		tagged := target(revisionOf(t), 0)
		tagged.Tag = t.Tag
		kept = append(kept, tagged)
	}
	r.targets = kept
}

// tag gives a revision a tag; a tag that another revision has moves.
func (r *routes) tag(a assignment) error {
	name, err := r.find(a.revision)
	if err != nil {
		return err
	}
	for _, t := range r.targets {
		if t.Tag != a.value {
			continue
		}
		if revisionOf(t) == name {
			return nil
		}
		if err := r.untag(a.value); err != nil {
			return err
		}
		break
	}
	i := slices.IndexFunc(r.targets, func(t servingv1.TrafficTarget) bool { return t.Tag == "" && revisionOf(t) == name })
	if i >= 0 {
		r.targets[i].Tag = a.value
		return nil
	}
	tagged := target(name, 0)
	tagged.Tag = a.value
	r.targets = append(r.targets, tagged)
	return nil
}

// find gives the name of a revision that was written as its name, its tag, its number or "latest".
func (r *routes) find(written string) (string, error) {
	if written == latestRevision || slices.Contains(r.revisions, written) {
		return written, nil
	}
	for _, t := range r.targets {
		if t.Tag == written {
			return revisionOf(t), nil
		}
	}
	if n, err := strconv.ParseUint(written, 10, 31); err == nil {
		if name := fmt.Sprintf("%s-%05d", r.service, n); slices.Contains(r.revisions, name) {
			return name, nil
		}
	}
	return "", withTry(fmt.Errorf("service %s has no revision or tag %s", r.service, written), "fairlead revisions %s", r.service)
}

// target is an entry of spec.traffic without a tag.
func target(revision string, percent int64) servingv1.TrafficTarget {
	latest := revision == latestRevision
	t := servingv1.TrafficTarget{Percent: &percent, LatestRevision: &latest}
	if !latest {
		t.RevisionName = revision
	}
	return t
}

func revisionOf(t servingv1.TrafficTarget) string {
	if t.RevisionName == "" || t.LatestRevision != nil && *t.LatestRevision {
		return latestRevision
	}
	return t.RevisionName
}

func percentOf(t servingv1.TrafficTarget) int64 {
	if t.Percent == nil {
		return 0
	}
	return *t.Percent
}
