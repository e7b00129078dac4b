package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// largestData is the most that the files of a ConfigMap or Secret may have together, in bytes.
const largestData = 1 << 20

// volumes adds the volumes, tmpfs, configs and secrets of a service.
func (c *composer) volumes(w *Workload, s types.ServiceConfig, pod *corev1.PodSpec, container *corev1.Container, http bool) error {
	m := &mounts{composer: c, w: w, pod: pod, container: container}
	for i, v := range s.Volumes {
		if err := m.volume(v, i, http); err != nil {
			return fmt.Errorf("volumes.%d: %w", i, err)
		}
	}
	for _, target := range s.Tmpfs {
		m.add(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}, target, "", false)
	}
	for _, ref := range s.Configs {
		object, exists := c.from.Configs[ref.Source]
		if !exists {
			return fmt.Errorf("config %s is not declared", ref.Source)
		}
		target := ref.Target
		if target == "" {
			target = "/" + ref.Source
		}
		if err := m.file("config", ref.Source, types.FileObjectConfig(object), target, ref.Mode); err != nil {
			return err
		}
	}
	for _, ref := range s.Secrets {
		object, exists := c.from.Secrets[ref.Source]
		if !exists {
			return fmt.Errorf("secret %s is not declared", ref.Source)
		}
		target := ref.Target
		if target == "" {
			target = ref.Source
		}
		if !path.IsAbs(target) {
			target = path.Join("/run/secrets", target)
		}
		if err := m.file("secret", ref.Source, types.FileObjectConfig(object), target, ref.Mode); err != nil {
			return err
		}
	}
	return nil
}

// mounts collects the volumes of one workload.
type mounts struct {
	*composer
	w         *Workload
	pod       *corev1.PodSpec
	container *corev1.Container
}

func (m *mounts) add(source corev1.VolumeSource, target, subPath string, readOnly bool) {
	name := "v" + strconv.Itoa(len(m.pod.Volumes))
	m.pod.Volumes = append(m.pod.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	m.container.VolumeMounts = append(m.container.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: target, SubPath: subPath, ReadOnly: readOnly})
}

func (m *mounts) volume(v types.ServiceVolumeConfig, index int, http bool) error {
	switch {
	case v.Type == types.VolumeTypeTmpfs:
		m.add(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}, v.Target, "", false)
	case v.Type == types.VolumeTypeVolume && v.Source == "":
		m.add(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, v.Target, "", v.ReadOnly)
	case v.Type == types.VolumeTypeVolume && http:
		return fmt.Errorf("a service that scales has no volume that lasts; %s: instance runs it as one always-on instance", kindExtension)
	case v.Type == types.VolumeTypeVolume:
		claim := m.claim(v.Source)
		m.add(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim, ReadOnly: v.ReadOnly}}, v.Target, "", v.ReadOnly)
	case v.Type == types.VolumeTypeBind && http:
		return m.copied(v, index)
	case v.Type == types.VolumeTypeBind:
		return m.bind(v)
	default:
		return fmt.Errorf("a volume of type %s is not supported", v.Type)
	}
	return nil
}

// claim makes the claim of a named volume once, and gives its name.
func (m *mounts) claim(source string) string {
	name := workloadNameOr(m.Name + "-" + source)
	has := func(w *Workload) bool {
		return slices.ContainsFunc(w.Support, func(o runtime.Object) bool {
			claim, isClaim := o.(*corev1.PersistentVolumeClaim)
			return isClaim && claim.Name == name
		})
	}
	if has(m.w) || slices.ContainsFunc(m.Workloads, func(w Workload) bool { return has(&w) }) {
		return name
	}
	claim := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: m.meta(m.namespace, name, m.w.Name),
	}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	// Compose volumes have no size, a claim must: what it says is not a limit here.
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	m.w.Support = append(m.w.Support, claim)
	return name
}

// bind shows an always-on instance a folder or file of this machine.
func (m *mounts) bind(v types.ServiceVolumeConfig) error {
	info, err := os.Stat(v.Source)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist", v.Source)
	}
	if err != nil {
		return err
	}
	folder, subPath := v.Source, ""
	if !info.IsDir() {
		folder, subPath = filepath.Split(v.Source)
		folder = filepath.Clean(folder)
	}
	m.add(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: folder}}, v.Target, subPath, v.ReadOnly)
	return nil
}

// copied gives a service that scales a copy of a few files of this machine: its instances share no folder with it.
func (m *mounts) copied(v types.ServiceVolumeConfig, index int) error {
	info, err := os.Stat(v.Source)
	if err != nil {
		return err
	}
	files, subPath := []string{v.Source}, ""
	if info.IsDir() {
		entries, err := os.ReadDir(v.Source)
		if err != nil {
			return err
		}
		files = nil
		for _, e := range entries {
			if !e.Type().IsRegular() {
				return fmt.Errorf("%s has %s: a service that scales gets copies of files, not of folders; %s: instance shares the folder", v.Source, e.Name(), kindExtension)
			}
			files = append(files, filepath.Join(v.Source, e.Name()))
		}
	} else {
		subPath = filepath.Base(v.Source)
	}
	data, total := map[string][]byte{}, 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		data[filepath.Base(file)] = content
		total += len(content)
	}
	if total > largestData {
		return fmt.Errorf("%s has %d bytes: a service that scales gets copies of at most %d; %s: instance shares the folder", v.Source, total, largestData, kindExtension)
	}
	name := fmt.Sprintf("%s-files-%d", m.w.Name, index)
	m.w.Support = append(m.w.Support, m.configMap(name, data))
	m.note(m.serviceName(), []string{"volumes", strconv.Itoa(index)}, "is a copy made now, read-only: a service that scales shares no folder with this machine")
	m.add(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}, v.Target, subPath, true)
	return nil
}

// serviceName is the name of the workload as the file has it.
func (m *mounts) serviceName() string {
	for name := range m.from.Services {
		if workloadNameOr(name) == m.w.Name {
			return name
		}
	}
	return m.w.Name
}

func (m *mounts) configMap(name string, data map[string][]byte) *corev1.ConfigMap {
	object := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: m.meta(m.namespace, name, m.w.Name)}
	for key, content := range data {
		if utf8.Valid(content) {
			if object.Data == nil {
				object.Data = map[string]string{}
			}
			object.Data[key] = string(content)
			continue
		}
		if object.BinaryData == nil {
			object.BinaryData = map[string][]byte{}
		}
		object.BinaryData[key] = content
	}
	return object
}

// file mounts a config or secret as one file.
func (m *mounts) file(kind, source string, object types.FileObjectConfig, target string, mode *types.FileMode) error {
	if object.External {
		return fmt.Errorf("%s %s is external, which is not supported", kind, source)
	}
	content, err := m.content(object)
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, source, err)
	}
	const key = "content"
	name := fmt.Sprintf("%s-%s-%s", m.w.Name, kind, workloadNameOr(source))
	var permissions *int32
	if mode != nil {
		bits := int32(*mode & 0o777)
		permissions = &bits
	}
	items := []corev1.KeyToPath{{Key: key, Path: path.Base(target), Mode: permissions}}
	if kind == "config" {
		m.w.Support = append(m.w.Support, m.configMap(name, map[string][]byte{key: content}))
		m.add(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}}, target, path.Base(target), true)
		return nil
	}
	m.w.Support = append(m.w.Support, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: m.meta(m.namespace, name, m.w.Name), Data: map[string][]byte{key: content},
	})
	m.add(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: items}}, target, path.Base(target), true)
	return nil
}

func (m *mounts) content(object types.FileObjectConfig) ([]byte, error) {
	switch {
	case object.File != "":
		return os.ReadFile(object.File)
	case object.Environment != "":
		value, has := m.from.Environment[object.Environment]
		if !has {
			return nil, fmt.Errorf("this shell has no variable %s", object.Environment)
		}
		return []byte(value), nil
	}
	return []byte(object.Content), nil
}
