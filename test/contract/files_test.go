package contract_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

var filePromises = []promise{
	{"ConfigMap, Secret and projected volumes have their files, with items and modes", holdsVolumes},
	{"a changed ConfigMap changes the file while the program runs", holdsFilesFollow},
	{"an optional volume may be missing", holdsOptional},
	{"an emptyDir in memory has the size asked for", holdsEmptyDir},
	{"a PersistentVolumeClaim keeps what was written through a new revision", holdsClaim},
	{"a service account token is mounted where it is asked for", holdsTokenFile},
	{"init containers run first, and share volumes", holdsInit},
	{"a sidecar shares the network", holdsSidecar},
}

// mounted gives a Service volumes, each mounted at /name.
func mounted(volumes ...corev1.Volume) func(*v1.Service) {
	return func(s *v1.Service) {
		s.Spec.Template.Spec.Volumes = volumes
		for _, v := range volumes {
			mount := corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name, ReadOnly: v.EmptyDir == nil && v.PersistentVolumeClaim == nil}
			s.Spec.Template.Spec.Containers[0].VolumeMounts = append(s.Spec.Template.Spec.Containers[0].VolumeMounts, mount)
		}
	}
}

func volume(name string, source corev1.VolumeSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: source}
}

func mapVolume(name string, optional bool) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: &optional}}
}

func holdsVolumes(t *testing.T, h *house) {
	h.configMap(t, "vol-map", map[string]string{"word": "from the map"})
	h.secret(t, "vol-secret", map[string]string{"word": "from the secret"})
	h.ready(t, h.service("volumes", mounted(
		volume("whole", mapVolume("vol-map", false)),
		volume("picked", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: "vol-secret", Items: []corev1.KeyToPath{{Key: "word", Path: "deep/word", Mode: pointer(int32(0o444))}},
		}}),
		volume("both", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "vol-map"}, Items: []corev1.KeyToPath{{Key: "word", Path: "m"}},
			}},
			{Secret: &corev1.SecretProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "vol-secret"}, Items: []corev1.KeyToPath{{Key: "word", Path: "s"}},
			}},
		}}}),
	)))
	for name, want := range map[string]string{
		"/whole/word": "from the map", "/picked/deep/word": "from the secret", "/both/m": "from the map", "/both/s": "from the secret",
	} {
		if got := h.file(t, "volumes", name); got != want {
			t.Errorf("%s says %q, want %q", name, got, want)
		}
	}
	if mode := h.ask(t, "volumes", "/mode?name=/picked/deep/word"); mode != "-r--r--r--" {
		t.Errorf("mode %s, want -r--r--r--", mode)
	}
}

func holdsFilesFollow(t *testing.T, h *house) {
	h.configMap(t, "moving", map[string]string{"word": "first"})
	h.ready(t, h.service("following", mounted(volume("words", mapVolume("moving", false)))))
	if got := h.file(t, "following", "/words/word"); got != "first" {
		t.Errorf("at first %q", got)
	}
	patch := []byte(`{"data":{"word":"second"}}`)
	if _, err := h.Kube.CoreV1().ConfigMaps("default").Patch(t.Context(), "moving", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file follows", func(ctx context.Context) error {
		_, body, err := h.send(ctx, h.host("following"), "/file?name=/words/word")
		if err == nil && body != "second" {
			err = fmt.Errorf("%q", body)
		}
		return err
	})
}

func holdsOptional(t *testing.T, h *house) {
	h.ready(t, h.service("optional", mounted(volume("nothing", mapVolume("not-there", true)))))
	if got := h.ask(t, "optional", "/mode?name=/nothing"); !strings.HasPrefix(got, "d") {
		t.Errorf("mode %s, want a folder", got)
	}
}

func holdsEmptyDir(t *testing.T, h *house) {
	limit := resource.MustParse("1Mi")
	h.ready(t, h.service("scratch", mounted(volume("scratch", corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit},
	}))))
	h.ask(t, "scratch", "/write?name=/scratch/note&data=kept")
	if got := h.file(t, "scratch", "/scratch/note"); got != "kept" {
		t.Errorf("says %q", got)
	}
	for _, line := range strings.Split(h.file(t, "scratch", "/proc/self/mounts"), "\n") {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "/scratch" && f[2] == "tmpfs" && strings.Contains(f[3], "size=1024k") {
			return
		}
	}
	t.Error("/scratch is no tmpfs of 1 MiB")
}

func holdsClaim(t *testing.T, h *house) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	if _, err := h.Kube.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "claims are allowed", func(ctx context.Context) error {
		patch := []byte(`{"data":{"kubernetes.podspec-persistent-volume-claim":"enabled","kubernetes.podspec-persistent-volume-write":"enabled"}}`)
		_, err := h.Kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, "config-features", types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
	s := h.service("keeping", mounted(volume("data", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}})))
	eventually(t, "the Service is accepted", func(ctx context.Context) error {
		_, err := h.Serving.ServingV1().Services("default").Create(ctx, s, metav1.CreateOptions{})
		return err
	})
	h.settled(t, s)
	h.ask(t, "keeping", "/write?name=/data/note&data=kept")
	h.settled(t, h.patch(t, "keeping", `{"spec":{"template":{"metadata":{"annotations":{"example.com/turn":"2"}}}}}`))
	eventually(t, "the new revision answers", func(ctx context.Context) error {
		if env := h.seen(t, "keeping").Env["K_REVISION"]; env != "keeping-00002" {
			return fmt.Errorf("revision %s", env)
		}
		return nil
	})
	if got := h.file(t, "keeping", "/data/note"); got != "kept" {
		t.Errorf("the next revision finds %q", got)
	}
}

func holdsTokenFile(t *testing.T, h *house) {
	h.ready(t, h.service("tokened", mounted(volume("tokens", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "a-friend", Path: "token"}}},
	}}))))
	if got := h.file(t, "tokened", "/tokens/token"); strings.Count(got, ".") != 2 {
		t.Errorf("no token: %q", got)
	}
}

func holdsInit(t *testing.T, h *house) {
	eventually(t, "init containers are allowed", func(ctx context.Context) error {
		patch := []byte(`{"data":{"kubernetes.podspec-init-containers":"enabled"}}`)
		_, err := h.Kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, "config-features", types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
	s := h.service("prepared", mounted(volume("shared", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})), func(s *v1.Service) {
		s.Spec.Template.Spec.InitContainers = []corev1.Container{{
			Name: "before", Image: h.image, Args: []string{"write", "/shared/note", "prepared"},
			VolumeMounts: []corev1.VolumeMount{{Name: "shared", MountPath: "/shared"}},
		}}
	})
	eventually(t, "the Service is accepted", func(ctx context.Context) error {
		_, err := h.Serving.ServingV1().Services("default").Create(ctx, s, metav1.CreateOptions{})
		return err
	})
	h.settled(t, s)
	if got := h.file(t, "prepared", "/shared/note"); got != "prepared" {
		t.Errorf("says %q", got)
	}
}

func holdsSidecar(t *testing.T, h *house) {
	h.ready(t, h.service("accompanied", func(s *v1.Service) {
		s.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
		s.Spec.Template.Spec.Containers = append(s.Spec.Template.Spec.Containers, corev1.Container{
			Name: "beside", Image: h.image, Env: []corev1.EnvVar{{Name: "PORT", Value: "9999"}, {Name: "ANSWER", Value: "the sidecar"}},
		})
	}))
	if got := h.ask(t, "accompanied", "/call?url=http://127.0.0.1:9999/"); got != "the sidecar" {
		t.Errorf("the sidecar says %q", got)
	}
}
