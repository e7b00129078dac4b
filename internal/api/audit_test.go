package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/fairlead-dev/fairlead/internal/api"
)

// auditLines reads a log; a line that is no event of audit.k8s.io/v1 fails the test.
func auditLines(t *testing.T, file string) []auditv1.Event {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []auditv1.Event
	for line := range bytes.Lines(data) {
		var e auditv1.Event
		if err := json.Unmarshal(line, &e); err != nil || e.APIVersion != "audit.k8s.io/v1" || e.Kind != "Event" {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// TestAuditLog looks for who did what, and for what must not be there.
func TestAuditLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	w := begin(t, "", func(c *api.Config) { c.Audit.File = file })
	client := w.client(t)
	const hidden = "not-for-the-log"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": hidden}}
	if _, err := client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := as(t, w, "").CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{}); err == nil {
		t.Error("nobody reads secrets")
	}
	if _, err := as(t, w, "wrong").CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{}); err == nil {
		t.Error("a wrong token reads secrets")
	}
	if _, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	find := func(user, verb string, code int32) func(context.Context) (bool, error) {
		return func(context.Context) (bool, error) {
			for _, e := range auditLines(t, file) {
				if e.User.Username == user && e.Verb == verb && strings.Contains(e.RequestURI, "/secrets") && e.ResponseStatus != nil && e.ResponseStatus.Code == code {
					return e.Level == auditv1.LevelMetadata && e.RequestObject == nil, nil
				}
			}
			return false, nil
		}
	}
	eventually(t, "the creation is told", find("fairlead-admin", "create", 201))
	eventually(t, "the refusal is told", find("system:anonymous", "get", 403))
	eventually(t, "the wrong token is told", find("", "get", 401))
	data, err := os.ReadFile(file)
	if err != nil || bytes.Contains(data, []byte(hidden)) || bytes.Contains(data, []byte("/readyz")) {
		t.Errorf("%v, or the log has content or health checks", err)
	}
	for _, e := range auditLines(t, file) {
		if e.User.Username == "system:apiserver" && (e.Verb == "get" || e.Verb == "list" || e.Verb == "watch") {
			t.Errorf("the daemon's own %s of %s is told", e.Verb, e.RequestURI)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestAuditLogRefused(t *testing.T) {
	for want, log := range map[string]api.AuditLog{
		"no such file or directory": {File: filepath.Join(t.TempDir(), "nowhere", "audit.log")},
		"is a directory":            {File: t.TempDir()},
		"is not a regular file":     {File: "/dev/null"},
		"the least is 1048576":      {File: filepath.Join(t.TempDir(), "a"), LimitBytes: 1000},
	} {
		_, err := api.New(api.Config{Dir: t.TempDir(), Etcd: "unix:///nowhere", Listen: "127.0.0.1:0", Audit: log})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "audit log") {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}
