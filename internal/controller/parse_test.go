package controller

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apierrs "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "1", "LONG_NAME": "$(A)"}
	for text, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$$(A)": "$(A)", "$$$(A)": "$1", "$(B)": "$(B)",
		"$(A": "$(A", "$": "$", "$x": "$x", "$(LONG_NAME)": "$(A)", "$()": "$()", "a$$b": "a$b",
	} {
		if got := expand(text, values); got != want {
			t.Errorf("expand(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "$(A)", "$$", "$(", "$(A))", "x$(B)$$(A)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := expand(text, map[string]string{"A": "1"})
		if !strings.Contains(text, "$") && got != text {
			t.Errorf("expand(%q) = %q changed a text without a reference", text, got)
		}
		if len(got) > len(text) {
			t.Errorf("expand(%q) = %q grew, and every value is shorter than its reference", text, got)
		}
	})
}

func FuzzFilePath(f *testing.F) {
	for _, s := range []string{"a", "a/b", "../a", "/a", "a/../..", ".", "", "a/./b", "..a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		clean, err := filePath(name)
		if err == nil && (clean == ".." || strings.HasPrefix(clean, "../") || strings.HasPrefix(clean, "/") || clean == ".") {
			t.Errorf("filePath(%q) = %q leaves the volume", name, clean)
		}
	})
}

func FuzzPullSecret(f *testing.F) {
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	f.Add([]byte(`{"auths":{"https://ghcr.io/v2/":{"auth":"` + auth + `"}}}`))
	f.Add([]byte(`{"auths":{"r:5000":{"username":"u","password":"p"}}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, data []byte) {
		secret := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: data}}
		found, err := dockerCredentials(secret)
		if err != nil && len(found) > 0 {
			t.Error("credentials and an error")
		}
	})
}

func TestPullSecret(t *testing.T) {
	auth := base64.StdEncoding.EncodeToString([]byte("me:se:cret"))
	secret := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
		corev1.DockerConfigJsonKey: []byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"` + auth + `"},"r:5000/team":{"username":"u","password":"p"}}}`),
	}}
	got, err := dockerCredentials(secret)
	want := []oci.Credential{{Scope: "docker.io", Username: "me", Password: "se:cret"}, {Scope: "r:5000/team", Username: "u", Password: "p"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
}

// given stands in for the objects an environment refers to.
type given struct {
	maps    map[string]*corev1.ConfigMap
	secrets map[string]*corev1.Secret
}

func (g given) configMap(_, name string) (*corev1.ConfigMap, error) {
	if m := g.maps[name]; m != nil {
		return m, nil
	}
	return nil, apierrs.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}

func (g given) secret(_, name string) (*corev1.Secret, error) {
	if s := g.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrs.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

func TestEnvironment(t *testing.T) {
	yes := true
	sources := given{
		maps:    map[string]*corev1.ConfigMap{"m": {Data: map[string]string{"color": "blue", "bad=name": "x"}}},
		secrets: map[string]*corev1.Secret{"s": {Data: map[string][]byte{"key": []byte("hidden")}}},
	}
	container := &corev1.Container{
		Name:      "user-container",
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("100Mi"), corev1.ResourceCPU: resource.MustParse("1500m")}},
		EnvFrom: []corev1.EnvFromSource{
			{Prefix: "M_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: &yes}},
		},
		Env: []corev1.EnvVar{
			{Name: "BOTH", Value: "$(M_color)-$(BASE)"},
			{Name: "BASE", Value: "changed"},
			{Name: "KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "key"}}},
			{Name: "GONE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "other", Optional: &yes}}},
			{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
			{Name: "LABEL", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
			{Name: "MEMORY", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
			{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
		},
	}
	e := &environment{sources: sources, meta: &metav1.ObjectMeta{Name: "p", Namespace: "n", Labels: map[string]string{"app": "hello"}}, pod: &corev1.PodSpec{}}
	if err := e.resolve(container, []string{"PATH=/bin", "BASE=image"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"PATH=/bin", "BASE=changed", "M_color=blue", "BOTH=blue-image", "KEY=hidden", "POD=p", "LABEL=hello", "MEMORY=100", "CPU=2"}
	if got := e.list(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	container.EnvFrom[1].SecretRef.Optional = nil
	if err := e.resolve(container, nil); err == nil || !strings.Contains(err.Error(), `envFrom[1]: secrets "none" not found`) {
		t.Errorf("a missing secret: %v", err)
	}
}

func TestProbes(t *testing.T) {
	container := &corev1.Container{Name: "c", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 9000}}}
	target := probeTarget{container: container, port: 8080}
	p, err := makeProbe(&corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/z"}}, PeriodSeconds: 3}, target)
	if err != nil || p.HTTP.Port != 8080 || p.HTTP.Path != "/z" || p.Period.Seconds() != 3 {
		t.Errorf("%+v %v", p, err)
	}
	named := &corev1.Probe{}
	named.TCPSocket = &corev1.TCPSocketAction{}
	named.TCPSocket.Port.Type, named.TCPSocket.Port.StrVal = 1, "web"
	if p, err := makeProbe(named, target); err != nil || *p.TCP != (sandbox.TCPProbe{Port: 9000}) {
		t.Errorf("%+v %v", p, err)
	}
	named.TCPSocket.Port.StrVal = "nowhere"
	if _, err := makeProbe(named, target); err == nil {
		t.Error("a port that does not exist was taken")
	}
}

func TestCommandLine(t *testing.T) {
	env := map[string]string{"A": "1"}
	for _, c := range []struct{ command, args, want []string }{
		{nil, nil, []string{"/app", "default"}},
		{nil, []string{"x$(A)"}, []string{"/app", "x1"}},
		{[]string{"/sh"}, nil, []string{"/sh"}},
		{[]string{"/sh"}, []string{"-c"}, []string{"/sh", "-c"}},
	} {
		if got := commandLine(&corev1.Container{Command: c.command, Args: c.args}, []string{"/app"}, []string{"default"}, env); !slices.Equal(got, c.want) {
			t.Errorf("command %q, args %q: %q, want %q", c.command, c.args, got, c.want)
		}
	}
}
