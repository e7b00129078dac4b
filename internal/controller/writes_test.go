package controller_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"knative.dev/serving/pkg/apis/autoscaling"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// TestWritesPerService counts what Fairlead itself writes to the API for a service until it is Ready: that is most of what defining a
// service costs, so it may not grow unseen.
func TestWritesPerService(t *testing.T) {
	const services = 8
	audit := filepath.Join(t.TempDir(), "audit.log")
	h := newHouse(t, func(s *daemon.Settings) { s.AuditLog = audit })
	zero := []byte(`{"data":{"allow-zero-initial-scale":"true"}}`)
	if _, err := h.kube.CoreV1().ConfigMaps("knative-serving").Patch(t.Context(), "config-autoscaler", types.MergePatchType, zero, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range services {
		h.ready(t, h.service("counted-"+string(rune('a'+i)), "", annotated(autoscaling.InitialScaleAnnotationKey, "0")))
	}
	most := map[string]float64{
		"create configurations": 1, "create routes": 1, "create revisions": 1, "create ingresses": 1, "update ingresses/status": 1,
		// A status is written once; on a busy machine some are written before the last word is known, too.
		"patch configurations": 0, "patch revisions": 0,
		"update services/status": 1.5, "update configurations/status": 1.5, "update routes/status": 1.5, "update revisions/status": 1.5,
	}
	for what, n := range writesUnder(t, audit, "counted-") {
		if limit, known := most[what]; known && float64(n) > limit*services {
			t.Errorf("%s: %d for %d services, at most %.1f each expected", what, n, services, limit)
		}
	}
}

// writesUnder counts what Fairlead itself wrote to objects whose name has a prefix, by verb and resource.
func writesUnder(t *testing.T, audit, prefix string) map[string]int {
	t.Helper()
	file, err := os.Open(audit)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // read only
	counts := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		if e.User.Username != "system:apiserver" || e.Stage != auditv1.StageResponseComplete || e.ObjectRef == nil || !strings.HasPrefix(e.ObjectRef.Name, prefix) {
			continue
		}
		if e.ResponseStatus == nil || e.ResponseStatus.Code >= 300 {
			continue // refused: the informer was behind
		}
		switch e.Verb {
		case "create", "update", "patch", "delete":
			what := e.Verb + " " + e.ObjectRef.Resource
			if e.ObjectRef.Subresource != "" {
				what += "/" + e.ObjectRef.Subresource
			}
			counts[what]++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return counts
}
