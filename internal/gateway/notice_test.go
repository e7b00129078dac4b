package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestNotice: a notice is for browsers from outside alone, as text, and everybody else gets the answer.
func TestNotice(t *testing.T) {
	answers := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("old")) })
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, accept, notice string) (int, string) {
		err := g.Apply(Table{
			Routes:   []Route{{Name: "a", Hosts: []string{"a.example"}, Rules: one("b"), Notice: notice}},
			Backends: []Backend{{Name: "b", Handler: answers}},
		})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(method, "http://a.example/", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	const bad = "main.go:3: <script>"
	if code, body := ask("GET", "text/html,*/*", bad); code != 503 || !strings.Contains(body, "main.go:3: &lt;script&gt;") || strings.Contains(body, "<script>") {
		t.Errorf("a browser gets %d %q", code, body)
	}
	for _, who := range [][3]string{{"GET", "*/*", bad}, {"POST", "text/html", bad}, {"GET", "text/html", ""}} {
		if code, body := ask(who[0], who[1], who[2]); code != 200 || body != "old" {
			t.Errorf("%v gets %d %q, want the answer", who, code, body)
		}
	}
}
