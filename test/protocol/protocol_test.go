// Package protocol holds `fairlead serve`, with real instances, to the test programs of the protocols it speaks.
package protocol

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

var fairlead realdaemon.Program

func TestMain(m *testing.M) { os.Exit(fairlead.Run(m)) }

// serve runs a daemon whose services may begin at zero, until the test ends.
func serve(t *testing.T) *realdaemon.Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	binary, err := fairlead.Binary()
	if err != nil {
		t.Fatal(err)
	}
	h := realdaemon.New(binary, t.TempDir())
	if err := h.Start(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, h.Logged())
	}
	t.Cleanup(func() {
		if err := h.End(syscall.SIGTERM); err != nil || t.Failed() {
			t.Errorf("the end of the daemon: %v\n%s", err, h.Logged())
		}
	})
	zero := []byte(`{"data":{"allow-zero-initial-scale":"true"}}`)
	if _, err := h.Kube.CoreV1().ConfigMaps("knative-serving").Patch(t.Context(), "config-autoscaler", types.MergePatchType, zero, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	return h
}

func build(t *testing.T, h *realdaemon.Host, folder string) (image string) {
	t.Helper()
	image, err := h.Build(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// deploy makes services of an image, which are at zero, and waits for them.
func deploy(t *testing.T, h *realdaemon.Host, image string, port corev1.ContainerPort, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	services := h.Serving.ServingV1().Services("default")
	for _, name := range names {
		s := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}}
		s.Spec.Template.Annotations = map[string]string{"autoscaling.knative.dev/initial-scale": "0"}
		s.Spec.Template.Spec.Containers = []corev1.Container{{Image: image, Ports: []corev1.ContainerPort{port}}}
		var refused error // where it is not yet known that services may begin at zero
		err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			_, refused = services.Create(ctx, s, metav1.CreateOptions{})
			return refused == nil, nil
		})
		if err != nil {
			t.Fatalf("service %s: %v: %v", name, err, refused)
		}
	}
	for _, name := range names {
		err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			s, err := services.Get(ctx, name, metav1.GetOptions{})
			return err == nil && s.IsReady(), err
		})
		if err != nil {
			t.Fatalf("service %s: %v", name, err)
		}
	}
}
