package controller_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// privateRegistry is another registry, which asks for a login and has the test program under these names.
func privateRegistry(t *testing.T, h *house, password string, names ...string) string {
	t.Helper()
	s, err := oci.New(oci.Config{Dir: t.TempDir(), Token: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	registry := strings.TrimPrefix(server.URL, "http://")
	image, err := crane.Pull(h.image, crane.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		login := crane.WithAuth(&authn.Basic{Username: "me", Password: password})
		if err := crane.Push(image, registry+"/"+name, crane.Insecure, login); err != nil {
			t.Fatal(err)
		}
	}
	return registry
}

// testPullSecrets holds that images behind a login come with the pull secrets of a Service, of its ServiceAccount and of
// a Pod, and not without.
func testPullSecrets(t *testing.T, h *house) {
	registry := privateRegistry(t, h, "s3cret", "of-service", "of-account", "of-pod")
	of := func(name string) func(*v1.Service) {
		return func(s *v1.Service) { s.Spec.Template.Spec.Containers[0].Image = registry + "/" + name }
	}
	h.create(t, h.service("no-login", "x", of("of-service")))
	eventually(t, "a missing login is told", func(ctx context.Context) error {
		s, err := h.serving.ServingV1().Services("default").Get(ctx, "no-login", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if c := condition(s, v1.ServiceConditionConfigurationsReady); !c.IsFalse() || !strings.Contains(c.Message, "refuses access") {
			return fmt.Errorf("ConfigurationsReady is %+v", c)
		}
		return nil
	})

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "login"}, Type: corev1.SecretTypeDockerConfigJson}
	secret.StringData = map[string]string{
		corev1.DockerConfigJsonKey: fmt.Sprintf(`{"auths":{"http://%s/v2/":{"username":"me","password":"s3cret"}}}`, registry),
	}
	if _, err := h.kube.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	login := []corev1.LocalObjectReference{{Name: "login"}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "puller"}, ImagePullSecrets: login}
	if _, err := h.kube.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.ready(t, h.service("login-service", "mine", of("of-service"), func(s *v1.Service) { s.Spec.Template.Spec.ImagePullSecrets = login }))
	h.expect(t, host("login-service"), "/", "mine login-service-00001")
	h.ready(t, h.service("login-account", "its", of("of-account"), func(s *v1.Service) { s.Spec.Template.Spec.ServiceAccountName = "puller" }))
	h.expect(t, host("login-account"), "/", "its login-account-00001")

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "login-pod"}}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: registry + "/of-pod"}}
	pod.Spec.ImagePullSecrets = login
	if _, err := h.kube.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod with a login runs", func(ctx context.Context) error {
		got, err := h.kube.CoreV1().Pods("default").Get(ctx, "login-pod", metav1.GetOptions{})
		if err == nil && got.Status.Phase != corev1.PodRunning {
			err = fmt.Errorf("its status is %+v", got.Status)
		}
		return err
	})
}
