package controller

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// volumeResult is the volumes of an instance and when they have to be looked at again for their own sake (tokens
// run out; zero: never).
type volumeResult struct {
	volumes []sandbox.Volume
	refresh time.Time
}

// files gives the contents of the volumes that hold data, by volume.
func (r *volumeResult) files() map[string]map[string]sandbox.File {
	all := map[string]map[string]sandbox.File{}
	for _, v := range r.volumes {
		if v.Files != nil {
			all[v.Name] = v.Files.Files
		}
	}
	return all
}

// volumes resolves the volumes of a pod.
func (t *translator) volumes(ctx context.Context) (*volumeResult, error) {
	result := &volumeResult{}
	for i := range t.pod.Volumes {
		v := &t.pod.Volumes[i]
		made, err := t.volume(ctx, v, result)
		if err != nil {
			return nil, fmt.Errorf("volume %q: %w", v.Name, err)
		}
		made.Name = v.Name
		result.volumes = append(result.volumes, made)
	}
	return result, t.access.volume(ctx, &t.meta, &t.pod, result)
}

func (t *translator) volume(ctx context.Context, v *corev1.Volume, result *volumeResult) (sandbox.Volume, error) {
	files := map[string]sandbox.File{}
	switch {
	case v.EmptyDir != nil:
		empty := &sandbox.EmptyVolume{Memory: v.EmptyDir.Medium == corev1.StorageMediumMemory}
		if v.EmptyDir.SizeLimit != nil {
			empty.SizeBytes = v.EmptyDir.SizeLimit.Value()
		}
		return sandbox.Volume{Empty: empty}, nil
	case v.PersistentVolumeClaim != nil:
		return t.claimVolume(v.PersistentVolumeClaim)
	case v.HostPath != nil:
		return sandbox.Volume{HostPath: v.HostPath.Path}, nil
	case v.ConfigMap != nil:
		s := v.ConfigMap
		projection := corev1.ConfigMapProjection{LocalObjectReference: s.LocalObjectReference, Items: s.Items, Optional: s.Optional}
		if err := t.configMapFiles(files, &projection, s.DefaultMode); err != nil {
			return sandbox.Volume{}, err
		}
	case v.Secret != nil:
		s := v.Secret
		projection := corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: s.SecretName}, Items: s.Items, Optional: s.Optional}
		if err := t.secretFiles(files, &projection, s.DefaultMode); err != nil {
			return sandbox.Volume{}, err
		}
	case v.DownwardAPI != nil:
		if err := t.downwardFiles(files, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode); err != nil {
			return sandbox.Volume{}, err
		}
	case v.Projected != nil:
		if err := t.projectedFiles(ctx, files, v.Projected, result); err != nil {
			return sandbox.Volume{}, err
		}
	default:
		return sandbox.Volume{}, fmt.Errorf("its kind is not supported; use configMap, secret, projected, downwardAPI, emptyDir or persistentVolumeClaim")
	}
	return sandbox.Volume{Files: &sandbox.FilesVolume{Files: files}}, nil
}

func (t *translator) projectedFiles(ctx context.Context, files map[string]sandbox.File, p *corev1.ProjectedVolumeSource, result *volumeResult) error {
	for i := range p.Sources {
		source := &p.Sources[i]
		var err error
		switch {
		case source.ConfigMap != nil:
			err = t.configMapFiles(files, source.ConfigMap, p.DefaultMode)
		case source.Secret != nil:
			err = t.secretFiles(files, source.Secret, p.DefaultMode)
		case source.DownwardAPI != nil:
			err = t.downwardFiles(files, source.DownwardAPI.Items, p.DefaultMode)
		case source.ServiceAccountToken != nil:
			err = t.tokenFile(ctx, files, source.ServiceAccountToken, p.DefaultMode, result)
		default:
			err = fmt.Errorf("its kind is not supported")
		}
		if err != nil {
			return fmt.Errorf("source %d: %w", i, err)
		}
	}
	return nil
}

func (t *translator) configMapFiles(files map[string]sandbox.File, p *corev1.ConfigMapProjection, mode *int32) error {
	m, err := t.sources.configMap(t.meta.Namespace, p.Name)
	if err != nil {
		return optional(err, p.Optional)
	}
	data := make(map[string][]byte, len(m.Data)+len(m.BinaryData))
	for k, v := range m.Data {
		data[k] = []byte(v)
	}
	maps.Copy(data, m.BinaryData)
	return keyFiles(files, data, p.Items, keyOptions{mode: mode, optional: p.Optional, of: "configmap " + p.Name})
}

func (t *translator) secretFiles(files map[string]sandbox.File, p *corev1.SecretProjection, mode *int32) error {
	s, err := t.sources.secret(t.meta.Namespace, p.Name)
	if err != nil {
		return optional(err, p.Optional)
	}
	return keyFiles(files, s.Data, p.Items, keyOptions{mode: mode, optional: p.Optional, of: "secret " + p.Name})
}

type keyOptions struct {
	mode     *int32
	optional *bool
	of       string
}

// keyFiles makes a file of every key, or of the items only.
func keyFiles(files map[string]sandbox.File, data map[string][]byte, items []corev1.KeyToPath, o keyOptions) error {
	if len(items) == 0 {
		for k, v := range data {
			files[k] = sandbox.File{Data: v, Mode: fileMode(o.mode, nil)}
		}
		return nil
	}
	for _, item := range items {
		v, ok := data[item.Key]
		if !ok {
			if o.optional != nil && *o.optional {
				continue
			}
			return fmt.Errorf("%s references non-existent config key: %s", o.of, item.Key)
		}
		name, err := filePath(item.Path)
		if err != nil {
			return err
		}
		files[name] = sandbox.File{Data: v, Mode: fileMode(o.mode, item.Mode)}
	}
	return nil
}

func (t *translator) downwardFiles(files map[string]sandbox.File, items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	for i := range items {
		item := &items[i]
		name, err := filePath(item.Path)
		if err != nil {
			return err
		}
		var value string
		switch {
		case item.FieldRef != nil:
			value, err = fieldValue(item.FieldRef.FieldPath, &t.meta, &t.pod, t.ip)
		case item.ResourceFieldRef != nil:
			value, err = t.resourceFile(item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		files[name] = sandbox.File{Data: []byte(value), Mode: fileMode(mode, item.Mode)}
	}
	return nil
}

func (t *translator) resourceFile(ref *corev1.ResourceFieldSelector) (string, error) {
	i := slices.IndexFunc(t.pod.Containers, func(c corev1.Container) bool { return c.Name == ref.ContainerName })
	if i < 0 {
		return "", fmt.Errorf("there is no container %q", ref.ContainerName)
	}
	return resourceValue(ref, &t.pod.Containers[i], &t.pod)
}

// tokenLife is how long a service account token lives where the manifest does not say.
const tokenLife = time.Hour

func (t *translator) tokenFile(ctx context.Context, files map[string]sandbox.File, p *corev1.ServiceAccountTokenProjection, mode *int32, result *volumeResult) error {
	name, err := filePath(p.Path)
	if err != nil {
		return err
	}
	life := tokenLife
	if p.ExpirationSeconds != nil {
		life = time.Duration(*p.ExpirationSeconds) * time.Second
	}
	token, err := t.token(ctx, tokenRequest{namespace: t.meta.Namespace, account: serviceAccount(&t.pod), audience: p.Audience, life: life})
	if err != nil {
		return err
	}
	renew := t.now().Add(life * 8 / 10)
	if result.refresh.IsZero() || renew.Before(result.refresh) {
		result.refresh = renew
	}
	files[name] = sandbox.File{Data: []byte(token), Mode: fileMode(mode, nil)}
	return nil
}

// claimVolume gives a persistent volume claim its directory, which outlives every instance.
func (t *translator) claimVolume(claim *corev1.PersistentVolumeClaimVolumeSource) (sandbox.Volume, error) {
	if t.volumeDir == "" {
		return sandbox.Volume{}, fmt.Errorf("persistent volume claims need a folder for volumes, and this daemon has none")
	}
	if err := t.claim(t.meta.Namespace, claim.ClaimName); err != nil {
		return sandbox.Volume{}, err
	}
	dir := filepath.Join(t.volumeDir, t.meta.Namespace, claim.ClaimName)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return sandbox.Volume{}, err
	}
	if err := os.Mkdir(dir, 0o777); err == nil {
		err = os.Chmod(dir, 0o777) //nolint:gosec // like a new volume in Kubernetes: any user of the pod may write
		if err != nil {
			return sandbox.Volume{}, err
		}
	} else if !os.IsExist(err) {
		return sandbox.Volume{}, err
	}
	return sandbox.Volume{HostPath: dir}, nil
}

func fileMode(byDefault, own *int32) uint32 {
	if own != nil {
		return uint32(*own) //nolint:gosec // validated as permission bits
	}
	if byDefault != nil {
		return uint32(*byDefault) //nolint:gosec // validated as permission bits
	}
	return 0o644
}

// filePath checks that a path stays inside its volume.
func filePath(name string) (string, error) {
	clean := path.Clean(name)
	if name == "" || path.IsAbs(clean) || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("%q is not a path inside the volume", name)
	}
	return clean, nil
}
