package gateway

import (
	"net/http"
	"strings"
	"testing"
)

func mustCompile(t testing.TB, table Table) *routes {
	t.Helper()
	rs, _, err := compile(table, func(name string) *backend { return newBackend(name, func(string) {}) })
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// one is a rule that sends everything to one backend.
func one(backend string) []Rule { return []Rule{{Splits: []Split{{Backend: backend, Weight: 100}}}} }

func TestHostMatching(t *testing.T) {
	rs := mustCompile(t, Table{
		Routes: []Route{
			{Name: "exact", Hosts: []string{"Hello.Default.localhost", "blue-hello.default.localhost"}, Rules: one("b")},
			{Name: "wild", Hosts: []string{"*.example.com"}, Rules: one("b")},
			{Name: "deeper", Hosts: []string{"*.eu.example.com"}, Rules: one("b")},
			{Name: "inside", Hosts: []string{"hello.default.svc.cluster.local", "hello.default.svc", "hello.default"}, Visibility: ClusterLocal, Rules: one("b")},
		},
		Backends: []Backend{{Name: "b"}},
	})
	internal := &Caller{Internal: true}
	tests := []struct {
		host   string
		caller *Caller
		want   string
	}{
		{"hello.default.localhost", outside, "exact"},
		{"HELLO.default.localhost:8080", outside, "exact"},
		{"hello.default.localhost.", outside, "exact"},
		{"hello.default.localhost.:80", outside, "exact"},
		{"blue-hello.default.localhost", outside, "exact"},
		{"red-hello.default.localhost", outside, ""},
		{"default.localhost", outside, ""},
		{"a.example.com", outside, "wild"},
		{"a.b.example.com", outside, "wild"},
		{"a.eu.example.com", outside, "deeper"},
		{"eu.example.com", outside, "wild"},
		{"example.com", outside, ""},
		{"xexample.com", outside, ""},
		{"hello.default.svc.cluster.local", outside, ""},
		{"hello.default.svc.cluster.local", internal, "inside"},
		{"hello.default.svc", internal, "inside"},
		{"hello.default:80", internal, "inside"},
		{"hello", internal, ""},
		{"hello.default.localhost:8080:1", outside, ""},
		{"hello.default.localhost:x", outside, ""},
		{"", outside, ""},
		{".", outside, ""},
		{"..", outside, ""},
		{"a..b", outside, ""},
		{"[::1]:80", outside, ""},
		{"hello.default.localhost/x", outside, ""},
		{"hello.default.localhost\x00", outside, ""},
		{"user@hello.default.localhost", outside, ""},
	}
	for _, tt := range tests {
		got := ""
		if r := rs.find(tt.host, tt.caller); r != nil {
			got = r.Name
		}
		if got != tt.want {
			t.Errorf("host %q (internal %v): route %q, want %q", tt.host, tt.caller.Internal, got, tt.want)
		}
	}
}

func TestRuleMatching(t *testing.T) {
	rs := mustCompile(t, Table{
		Routes: []Route{{Name: "r", Hosts: []string{"h"}, Rules: []Rule{
			{Splits: []Split{{Backend: "default", Weight: 1}}},
			{Path: "/api/", Splits: []Split{{Backend: "api", Weight: 1}}},
			{Path: "/api/v2", Splits: []Split{{Backend: "v2", Weight: 1}}},
			{Headers: map[string]string{"knative-serving-tag": "blue"}, Splits: []Split{{Backend: "blue", Weight: 1}}},
			{Path: "/api", Headers: map[string]string{"Knative-Serving-Tag": "blue"}, Splits: []Split{{Backend: "blue-api", Weight: 1}}},
		}}},
		Backends: []Backend{{Name: "default"}, {Name: "api"}, {Name: "v2"}, {Name: "blue"}, {Name: "blue-api"}},
	})
	for _, tt := range []struct{ path, tag, want string }{
		{"/", "", "default"},
		{"/apiary", "", "default"},
		{"/api", "", "api"},
		{"/api/", "", "api"},
		{"/api/v1", "", "api"},
		{"/api/v2", "", "v2"},
		{"/api/v2/x", "", "v2"},
		{"/api/v22", "", "api"},
		{"/", "blue", "blue"},
		{"/api/x", "blue", "blue-api"},
		{"/", "green", "default"},
		{"*", "", "default"},
	} {
		h := http.Header{}
		if tt.tag != "" {
			h.Set("Knative-Serving-Tag", tt.tag)
		}
		rule := rs.host("h").rule(tt.path, h)
		if got := rule.split(nil).backend.name; got != tt.want {
			t.Errorf("%s with tag %q: %s, want %s", tt.path, tt.tag, got, tt.want)
		}
	}
}

func TestSplitByWeight(t *testing.T) {
	rs := mustCompile(t, Table{
		Routes: []Route{{Name: "r", Hosts: []string{"h"}, Rules: []Rule{{Splits: []Split{
			{Backend: "a", Weight: 10}, {Backend: "none", Weight: 0}, {Backend: "b", Weight: 30}, {Backend: "c", Weight: 60},
		}}}}},
		Backends: []Backend{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "none"}},
	})
	rule := rs.host("h").rule("/", nil)
	got := map[string]int{}
	for at := range 100 {
		got[rule.split(func(n int) int {
			if n != 100 {
				t.Fatalf("asked for a number below %d", n)
			}
			return at
		}).backend.name]++
	}
	if got["a"] != 10 || got["b"] != 30 || got["c"] != 60 || got["none"] != 0 {
		t.Errorf("shares %v", got)
	}
}

func TestTableIsRefused(t *testing.T) {
	tests := map[string]struct {
		table Table
		want  string
	}{
		"unknown backend": {Table{Routes: []Route{{Name: "r", Hosts: []string{"h"}, Rules: one("x")}}}, `backend "x" is not in the table`},
		"two claims": {Table{Backends: []Backend{{Name: "b"}}, Routes: []Route{
			{Name: "one", Hosts: []string{"h"}, Rules: one("b")}, {Name: "two", Hosts: []string{"H"}, Rules: one("b")}}}, `host "H" is claimed by the routes "one" and "two"`},
		"no rules":   {Table{Routes: []Route{{Name: "r", Hosts: []string{"h"}}}}, `route "r" has no rules`},
		"no splits":  {Table{Routes: []Route{{Name: "r", Hosts: []string{"h"}, Rules: []Rule{{}}}}}, "no splits"},
		"bad host":   {Table{Backends: []Backend{{Name: "b"}}, Routes: []Route{{Name: "r", Hosts: []string{"a/b"}, Rules: one("b")}}}, `host "a/b" is not a host name`},
		"bad star":   {Table{Backends: []Backend{{Name: "b"}}, Routes: []Route{{Name: "r", Hosts: []string{"a.*.b"}, Rules: one("b")}}}, "a wildcard is only allowed as the first label"},
		"bad path":   {Table{Backends: []Backend{{Name: "b"}}, Routes: []Route{{Name: "r", Hosts: []string{"h"}, Rules: []Rule{{Path: "x", Splits: []Split{{Backend: "b"}}}}}}}, `path "x" does not begin with a slash`},
		"bad weight": {Table{Backends: []Backend{{Name: "b"}}, Routes: []Route{{Name: "r", Hosts: []string{"h"}, Rules: []Rule{{Splits: []Split{{Backend: "b", Weight: -1}}}}}}}, "negative weight"},
		"bad log":    {Table{RequestLog: "{{.Nope"}, "request log template"},
		"twice":      {Table{Backends: []Backend{{Name: "b"}, {Name: "b"}}}, `backend "b" is listed twice`},
	}
	for name, tt := range tests {
		g, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Apply(tt.table); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.b", "A.b.:80", "*.x.y", "[::1]:80", "[A]", "[A::]", "..", "a:b", "a.b:99999", "xn--bcher-kva.example"} {
		f.Add(s)
	}
	rs := mustCompile(f, Table{
		Routes: []Route{
			{Name: "e", Hosts: []string{"a.b"}, Rules: one("b")},
			{Name: "w", Hosts: []string{"*.x.y"}, Rules: one("b")},
			{Name: "l", Hosts: []string{"in.side"}, Visibility: ClusterLocal, Rules: one("b")},
		},
		Backends: []Backend{{Name: "b"}},
	})
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := canonicalHost(s)
		if ok {
			if again, ok := canonicalHost(name); !strings.Contains(name, ":") && (!ok || again != name) {
				t.Errorf("%q becomes %q, which becomes %q", s, name, again)
			}
			if strings.ContainsAny(name, "/\\@?# \t\r\n\x00ABCDEFGHIJKLMNOPQRSTUVWXYZ") && s[0] != '[' {
				t.Errorf("%q was taken as the host %q", s, name)
			}
		}
		r := rs.find(s, outside)
		if r == nil {
			return
		}
		switch {
		case !ok:
			t.Errorf("%q is no host and got route %s", s, r.Name)
		case r.Name == "l":
			t.Errorf("%q from outside reached a cluster-local route", s)
		case r.Name == "e" && name != "a.b", r.Name == "w" && !strings.HasSuffix(name, ".x.y"):
			t.Errorf("%q got route %s", s, r.Name)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/api", "/api/", "/api/v2", "/apis", "", "*", "/api/../x"} {
		f.Add(s)
	}
	rs := mustCompile(f, Table{
		Routes: []Route{{Name: "r", Hosts: []string{"h"}, Rules: []Rule{
			{Path: "/api", Splits: []Split{{Backend: "b"}}}, {Splits: []Split{{Backend: "b"}}},
		}}},
		Backends: []Backend{{Name: "b"}},
	})
	f.Fuzz(func(t *testing.T, s string) {
		rule := rs.host("h").rule(s, nil)
		if rule == nil {
			t.Fatalf("%q has no rule although one matches everything", s)
		}
		if want := s == "/api" || strings.HasPrefix(s, "/api/"); want != (rule.path == "/api") {
			t.Errorf("%q got the rule %q", s, rule.path)
		}
	})
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more")
	f.Fuzz(func(t *testing.T, s string) {
		if id := traceID(s); id != "" && (len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || !strings.Contains(s, id)) {
			t.Errorf("%q has the trace ID %q", s, id)
		}
	})
}

func FuzzForwarded(f *testing.F) {
	f.Add("127.0.0.1:80", "h:80", "for=1.2.3.4")
	f.Add("[::1%eth0]:80", "h", "")
	f.Add("@", "h", "")
	f.Fuzz(func(t *testing.T, remote, host, prior string) {
		in, out := http.Header{}, http.Header{}
		if prior != "" {
			in.Set("Forwarded", prior)
		}
		forwardHeaders(out, in, remote, host, "http")
		if got := out.Get("Forwarded"); prior != "" && !strings.HasPrefix(got, prior+", for=") {
			t.Errorf("prior %q was not kept: %q", prior, got)
		}
	})
}
