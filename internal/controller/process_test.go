package controller

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// TestWritten holds that a reconciliation starts from the newest state of an object that is known: what was written itself, until the
// informer has that or something newer.
func TestWritten(t *testing.T) {
	revision := func(uid, version string) *v1.Revision {
		return &v1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r", UID: types.UID(uid), ResourceVersion: version}}
	}
	w := newWritten[*v1.Revision]()
	w.keep(revision("a", "10"))
	for _, step := range []struct{ what, uid, held, want string }{
		{"the informer is behind", "a", "9", "10"},
		{"it still is", "a", "9", "10"},
		{"it has what was written", "a", "10", "10"},
		{"what was written is forgotten", "a", "9", "9"},
	} {
		if got := w.newer(revision(step.uid, step.held)).ResourceVersion; got != step.want {
			t.Errorf("%s: %s, want %s", step.what, got, step.want)
		}
	}
	w.keep(revision("a", "10"))
	if got := w.newer(revision("b", "9")); got.UID != "b" {
		t.Error("an object of the same name is taken for the one that was written")
	}
	w.keep(revision("a", "10"))
	w.forget(key{Namespace: "n", Name: "r"})
	if len(w.objects) != 0 {
		t.Error("an object that is gone is remembered")
	}
}
