package contract_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var surroundingsPromises = []promise{
	{"PORT is the container's port, K_SERVICE, K_CONFIGURATION and K_REVISION name where it belongs", holdsEnvironment},
	{"environment comes from values, ConfigMaps and Secrets", holdsEnvFrom},
	{"command and args replace the image's, the working directory is obeyed", holdsCommand},
	{"stdin is at its end", holdsStdin},
	{"the usual devices and files exist, and no console", holdsFiles},
	{"/tmp is writable for everybody", holdsTmp},
	{"sysctls and cgroups cannot be written", holdsReadOnly},
	{"the limits that were asked for are seen in the cgroup", holdsLimits},
	{"runAsUser is obeyed", holdsUser},
}

// sight is what the test program tells of its start.
type sight struct {
	Args  []string
	Env   map[string]string
	Dir   string
	UID   int
	Stdin string
}

func (h *house) seen(t *testing.T, service string) (s sight) {
	t.Helper()
	if err := json.Unmarshal([]byte(h.ask(t, service, "/seen")), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// file reads a file inside a service's instance.
func (h *house) file(t *testing.T, service, name string) string {
	t.Helper()
	return h.ask(t, service, "/file?name="+url.QueryEscape(name))
}

func holdsEnvironment(t *testing.T, h *house) {
	h.ready(t, h.service("ported", container(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{ContainerPort: 8888}} })))
	env := h.seen(t, "ported").Env
	for name, want := range map[string]string{"PORT": "8888", "K_SERVICE": "ported", "K_CONFIGURATION": "ported", "K_REVISION": "ported-00001"} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
}

func holdsEnvFrom(t *testing.T, h *house) {
	h.configMap(t, "env-map", map[string]string{"FROM_MAP": "m", "one": "from the map"})
	h.secret(t, "env-secret", map[string]string{"FROM_SECRET": "s", "two": "from the secret"})
	h.ready(t, h.service("enved", container(func(c *corev1.Container) {
		mapName, secretName := corev1.LocalObjectReference{Name: "env-map"}, corev1.LocalObjectReference{Name: "env-secret"}
		c.EnvFrom = []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: mapName}},
			{Prefix: "P_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: secretName}},
		}
		c.Env = append(c.Env,
			corev1.EnvVar{Name: "ONE", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: mapName, Key: "one"}}},
			corev1.EnvVar{Name: "TWO", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: secretName, Key: "two"}}},
			corev1.EnvVar{Name: "BOTH", Value: "$(ONE), $(TWO)"},
		)
	})))
	env := h.seen(t, "enved").Env
	for name, want := range map[string]string{
		"FROM_MAP": "m", "P_FROM_SECRET": "s", "ONE": "from the map", "TWO": "from the secret", "BOTH": "from the map, from the secret",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
}

func (h *house) configMap(t *testing.T, name string, data map[string]string) {
	t.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
	if _, err := h.Kube.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (h *house) secret(t *testing.T, name string, data map[string]string) {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}
	if _, err := h.Kube.CoreV1().Secrets("default").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func holdsCommand(t *testing.T, h *house) {
	h.ready(t, h.service("commanded", container(func(c *corev1.Container) {
		c.Command, c.Args, c.WorkingDir = []string{"/app/app", "first"}, []string{"second", "$(ANSWER)"}, "/tmp"
	})))
	s := h.seen(t, "commanded")
	if strings.Join(s.Args, " ") != "first second commanded" || s.Dir != "/tmp" {
		t.Errorf("arguments %q in %s", s.Args, s.Dir)
	}
}

func holdsStdin(t *testing.T, h *house) {
	h.ready(t, h.service("reading"))
	if got := h.seen(t, "reading").Stdin; got != " <nil>" {
		t.Errorf("stdin gave %q", got)
	}
}

func holdsFiles(t *testing.T, h *house) {
	h.ready(t, h.service("furnished"))
	for _, name := range []string{
		"/dev/fd", "/dev/full", "/dev/null", "/dev/ptmx", "/dev/random", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty", "/dev/urandom", "/dev/zero",
		"/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/proc/self", "/sys", "/tmp",
	} {
		h.ask(t, "furnished", "/mode?name="+name)
	}
	if status, _, err := h.send(t.Context(), h.host("furnished"), "/mode?name=/dev/console"); err != nil || status != 404 {
		t.Errorf("/dev/console: %d %v, want 404", status, err)
	}
}

func holdsTmp(t *testing.T, h *house) {
	h.ready(t, h.service("scribbling"))
	if mode := h.ask(t, "scribbling", "/mode?name=/tmp"); mode != "dtrwxrwxrwx" {
		t.Errorf("mode of /tmp %s", mode)
	}
	h.ask(t, "scribbling", "/write?name=/tmp/note&data=kept")
	if got := h.file(t, "scribbling", "/tmp/note"); got != "kept" {
		t.Errorf("/tmp/note says %q", got)
	}
}

func holdsReadOnly(t *testing.T, h *house) {
	h.ready(t, h.service("sealed"))
	for _, name := range []string{"/proc/sys/kernel/domainname", "/sys/fs/cgroup/new", "/sys/kernel/uevent_helper"} {
		status, body, err := h.send(t.Context(), h.host("sealed"), "/write?data=x&name="+name)
		if err != nil || status != 500 {
			t.Errorf("writing %s: %d %q %v", name, status, body, err)
		}
	}
}

func holdsLimits(t *testing.T, h *house) {
	h.ready(t, h.service("limited", container(func(c *corev1.Container) {
		c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("96Mi"), corev1.ResourceCPU: resource.MustParse("500m")}
	})))
	const want = "100663296"
	var seen []string
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		status, body, err := h.send(t.Context(), h.host("limited"), "/file?name="+name)
		if err != nil {
			t.Fatal(err)
		}
		if status == 200 {
			seen = append(seen, strings.TrimSpace(body))
		}
	}
	if len(seen) == 0 || seen[0] != want {
		t.Errorf("memory limits seen %q, want %s", seen, want)
	}
}

func holdsUser(t *testing.T, h *house) {
	h.ready(t, h.service("named-user", container(func(c *corev1.Container) {
		c.SecurityContext = &corev1.SecurityContext{RunAsUser: pointer(int64(2024)), RunAsGroup: pointer(int64(2025))}
	})))
	if s := h.seen(t, "named-user"); s.UID != 2024 {
		t.Errorf("user %d", s.UID)
	}
}
