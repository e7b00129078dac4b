package controller

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sources gives the data that environments and volumes refer to.
type sources interface {
	configMap(namespace, name string) (*corev1.ConfigMap, error)
	secret(namespace, name string) (*corev1.Secret, error)
}

// listedSources reads from the informers' stores: no API access.
type listedSources struct{ listers *listers }

func (s listedSources) configMap(namespace, name string) (*corev1.ConfigMap, error) {
	return s.listers.configMaps.ConfigMaps(namespace).Get(name)
}

func (s listedSources) secret(namespace, name string) (*corev1.Secret, error) {
	return s.listers.secrets.Secrets(namespace).Get(name)
}

// environment resolves the variables of one container, base (the image's) first. meta is the pod's.
type environment struct {
	sources sources
	meta    *metav1.ObjectMeta
	pod     *corev1.PodSpec
	ip      string
	order   []string
	values  map[string]string
}

func (e *environment) set(name, value string) {
	if _, known := e.values[name]; !known {
		e.order = append(e.order, name)
	}
	e.values[name] = value
}

// list gives the variables as NAME=value.
func (e *environment) list() []string {
	list := make([]string, len(e.order))
	for i, name := range e.order {
		list[i] = name + "=" + e.values[name]
	}
	return list
}

// resolve takes in everything the container says about its environment.
func (e *environment) resolve(container *corev1.Container, base []string) error {
	e.values = make(map[string]string, len(base)+len(container.Env))
	for _, pair := range base {
		if name, value, ok := strings.Cut(pair, "="); ok {
			e.set(name, value)
		}
	}
	for i := range container.EnvFrom {
		if err := e.from(&container.EnvFrom[i]); err != nil {
			return fmt.Errorf("envFrom[%d]: %w", i, err)
		}
	}
	for i := range container.Env {
		v := &container.Env[i]
		value, skip, err := e.value(v, container)
		if err != nil {
			return fmt.Errorf("env %s: %w", v.Name, err)
		}
		if !skip {
			e.set(v.Name, value)
		}
	}
	return nil
}

func (e *environment) from(source *corev1.EnvFromSource) error {
	values := map[string]string{}
	switch {
	case source.ConfigMapRef != nil:
		m, err := e.sources.configMap(e.meta.Namespace, source.ConfigMapRef.Name)
		if err != nil {
			return optional(err, source.ConfigMapRef.Optional)
		}
		maps.Copy(values, m.Data)
	case source.SecretRef != nil:
		s, err := e.sources.secret(e.meta.Namespace, source.SecretRef.Name)
		if err != nil {
			return optional(err, source.SecretRef.Optional)
		}
		for k, v := range s.Data {
			values[k] = string(v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if strings.ContainsAny(name, "=\x00") || source.Prefix+name == "" {
			continue
		}
		e.set(source.Prefix+name, values[name])
	}
	return nil
}

// value gives the value of one variable; skip says that an optional source is not there.
func (e *environment) value(v *corev1.EnvVar, container *corev1.Container) (value string, skip bool, err error) {
	from := v.ValueFrom
	switch {
	case from == nil:
		return expand(v.Value, e.values), false, nil
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		m, err := e.sources.configMap(e.meta.Namespace, ref.Name)
		if err != nil {
			return "", true, optional(err, ref.Optional)
		}
		if value, ok := m.Data[ref.Key]; ok {
			return value, false, nil
		}
		return "", true, missingKey("ConfigMap", e.meta.Namespace, ref.Name, ref.Key, ref.Optional)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := e.sources.secret(e.meta.Namespace, ref.Name)
		if err != nil {
			return "", true, optional(err, ref.Optional)
		}
		if value, ok := s.Data[ref.Key]; ok {
			return string(value), false, nil
		}
		return "", true, missingKey("Secret", e.meta.Namespace, ref.Name, ref.Key, ref.Optional)
	case from.FieldRef != nil:
		value, err = fieldValue(from.FieldRef.FieldPath, e.meta, e.pod, e.ip)
		return value, false, err
	case from.ResourceFieldRef != nil:
		value, err = resourceValue(from.ResourceFieldRef, container, e.pod)
		return value, false, err
	}
	return "", true, fmt.Errorf("valueFrom names no source")
}

// optional forgives a missing object where the reference says so.
func optional(err error, optional *bool) error {
	if apierrs.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

func missingKey(kind, namespace, name, key string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, namespace, name)
}

// nodeName is the one node there is.
const nodeName = "fairlead"

// fieldValue reads a field of the pod by its downward API path.
func fieldValue(path string, meta *metav1.ObjectMeta, pod *corev1.PodSpec, ip string) (string, error) {
	if name, ok := mapField(path, "metadata.labels"); ok {
		return meta.Labels[name], nil
	}
	if name, ok := mapField(path, "metadata.annotations"); ok {
		return meta.Annotations[name], nil
	}
	switch path {
	case "metadata.name":
		return meta.Name, nil
	case "metadata.namespace":
		return meta.Namespace, nil
	case "metadata.uid":
		return string(meta.UID), nil
	case "metadata.labels":
		return formatMap(meta.Labels), nil
	case "metadata.annotations":
		return formatMap(meta.Annotations), nil
	case "spec.nodeName":
		return nodeName, nil
	case "spec.serviceAccountName":
		return serviceAccount(pod), nil
	case "status.hostIP", "status.hostIPs":
		return loopback, nil
	case "status.podIP", "status.podIPs":
		return ip, nil
	}
	return "", fmt.Errorf("field %q is not known", path)
}

const loopback = "127.0.0.1"

func serviceAccount(pod *corev1.PodSpec) string {
	if pod.ServiceAccountName == "" {
		return "default"
	}
	return pod.ServiceAccountName
}

// mapField reads the subscript of a path like metadata.labels['app'].
func mapField(path, field string) (string, bool) {
	rest, ok := strings.CutPrefix(path, field+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// formatMap writes a map as the downward API does: one key="value" a line.
func formatMap(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(lines, "\n")
}

// resourceValue reads a limit or request in the unit asked for, rounded up.
func resourceValue(ref *corev1.ResourceFieldSelector, container *corev1.Container, pod *corev1.PodSpec) (string, error) {
	if ref.ContainerName != "" && ref.ContainerName != container.Name {
		i := slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == ref.ContainerName })
		if i < 0 {
			return "", fmt.Errorf("there is no container %q", ref.ContainerName)
		}
		container = &pod.Containers[i]
	}
	list, name := container.Resources.Limits, ""
	if rest, ok := strings.CutPrefix(ref.Resource, "limits."); ok {
		name = rest
	} else if rest, ok := strings.CutPrefix(ref.Resource, "requests."); ok {
		list, name = container.Resources.Requests, rest
	} else {
		return "", fmt.Errorf("resource %q is neither limits.<name> nor requests.<name>", ref.Resource)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	quantity := list[corev1.ResourceName(name)]
	if corev1.ResourceName(name) == corev1.ResourceCPU {
		return divided(quantity.MilliValue(), divisor.MilliValue()), nil
	}
	return divided(quantity.Value(), divisor.Value()), nil
}

func divided(value, divisor int64) string {
	if divisor <= 0 {
		divisor = 1
	}
	return strconv.FormatInt((value+divisor-1)/divisor, 10)
}

// expand replaces $(NAME) by the variable's value; $$ stands for $, and a name that is not set stays as written.
func expand(text string, values map[string]string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(text[i+2:], ')')
			if end < 0 {
				out.WriteByte('$')
				continue
			}
			name := text[i+2 : i+2+end]
			value, known := values[name]
			if !known {
				value = "$(" + name + ")"
			}
			out.WriteString(value)
			i += 2 + end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}
