package knative

import (
	"maps"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	eventingv1beta3 "knative.dev/eventing/pkg/apis/eventing/v1beta3"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// servingRules are the rules of Serving's kinds.
func servingRules() map[reflect.Type]typeRules {
	out := podRules()
	out[reflect.TypeFor[servingv1.ConfigurationSpec]()] = typeRules{"template": {optional: true}}
	return out
}

// eventingRules are the rules of Eventing's kinds.
func eventingRules() map[reflect.Type]typeRules {
	return map[reflect.Type]typeRules{
		reflect.TypeFor[apis.Condition]():                           {"type": {required: true}, "status": {required: true}},
		reflect.TypeFor[sourcesv1.ApiServerSourceSpec]():            {"resources": {required: true}},
		reflect.TypeFor[eventingv1beta3.EventAttributeDefinition](): {"name": {required: true}},
	}
}

// podRules describe the part of a Kubernetes pod that Knative allows. A field Knative never allows stays in the
// schema, marked as refused, because a field the schema does not have is dropped before Knative's validation could
// name it. A field behind a feature flag is kept as it comes.
func podRules() map[reflect.Type]typeRules {
	optional, opaque, atomic := fieldRule{optional: true}, fieldRule{opaque: true}, fieldRule{atomic: true}
	emptyText := fieldRule{optional: true, set: &apiextensionsv1.JSON{Raw: []byte(`""`)}}
	return map[reflect.Type]typeRules{
		reflect.TypeFor[corev1.PodSpec](): allow[corev1.PodSpec](
			`automountServiceAccountToken containers enableServiceLinks imagePullSecrets serviceAccountName volumes
			 affinity dnsConfig dnsPolicy hostAliases hostIPC hostNetwork hostPID initContainers nodeSelector priorityClassName
			 runtimeClassName schedulerName securityContext shareProcessNamespace tolerations topologySpreadConstraints`,
			typeRules{
				"affinity": opaque, "dnsConfig": opaque, "hostAliases": opaque, "nodeSelector": {value: nodeSelector()}, "securityContext": opaque,
				"tolerations": opaque, "topologySpreadConstraints": opaque, "initContainers": opaque,
				"imagePullSecrets": {mapKeys: []string{"name"}}, "volumes": {mapKeys: []string{"name"}},
			}),
		reflect.TypeFor[corev1.Container](): allow[corev1.Container](
			`args command env envFrom image imagePullPolicy livenessProbe name ports readinessProbe resources securityContext
			 startupProbe terminationMessagePath terminationMessagePolicy volumeMounts workingDir`,
			typeRules{
				"name": optional, "args": atomic, "command": atomic, "envFrom": atomic,
				"env": {mapKeys: []string{"name"}}, "volumeMounts": {mapKeys: []string{"mountPath"}},
			}),
		reflect.TypeFor[corev1.ContainerPort]():        allow[corev1.ContainerPort]("containerPort name protocol", typeRules{"containerPort": optional, "protocol": {set: &apiextensionsv1.JSON{Raw: []byte(`"TCP"`)}}}),
		reflect.TypeFor[corev1.ResourceRequirements](): allow[corev1.ResourceRequirements]("limits requests", nil),
		reflect.TypeFor[corev1.EnvVar]():               allow[corev1.EnvVar]("name value valueFrom", nil),
		reflect.TypeFor[corev1.SecurityContext](): allow[corev1.SecurityContext](
			"allowPrivilegeEscalation capabilities privileged readOnlyRootFilesystem runAsGroup runAsNonRoot runAsUser seccompProfile", nil),
		reflect.TypeFor[corev1.Capabilities](): {"add": atomic, "drop": atomic},
		reflect.TypeFor[corev1.EnvVarSource](): allow[corev1.EnvVarSource](
			"configMapKeyRef secretKeyRef fieldRef resourceFieldRef", typeRules{"fieldRef": {value: atomicObject()}, "resourceFieldRef": {value: atomicObject()}}),
		reflect.TypeFor[corev1.ConfigMapKeySelector](): {"": atomic, "name": emptyText},
		reflect.TypeFor[corev1.SecretKeySelector]():    {"": atomic, "name": emptyText},
		reflect.TypeFor[corev1.ConfigMapEnvSource]():   {"": atomic, "name": emptyText},
		reflect.TypeFor[corev1.SecretEnvSource]():      {"": atomic, "name": emptyText},
		reflect.TypeFor[corev1.LocalObjectReference](): {"": atomic, "name": emptyText},
		reflect.TypeFor[corev1.ExecAction]():           {"command": atomic},
		reflect.TypeFor[corev1.HTTPGetAction]():        {"port": optional, "httpHeaders": atomic},
		reflect.TypeFor[corev1.TCPSocketAction]():      {"port": optional},
		reflect.TypeFor[corev1.GRPCAction]():           {"port": optional, "service": emptyText},
		reflect.TypeFor[corev1.VolumeMount](): allow[corev1.VolumeMount](
			"name readOnly mountPath subPath mountPropagation", nil),
		reflect.TypeFor[corev1.Volume](): allow[corev1.Volume](
			"name secret configMap projected emptyDir persistentVolumeClaim hostPath csi image ephemeral",
			typeRules{"emptyDir": opaque, "persistentVolumeClaim": opaque, "hostPath": opaque, "csi": opaque, "image": opaque, "ephemeral": opaque}),
		reflect.TypeFor[corev1.SecretVolumeSource]():    {"items": atomic},
		reflect.TypeFor[corev1.ConfigMapVolumeSource](): {"": atomic, "items": atomic, "name": emptyText},
		reflect.TypeFor[corev1.ProjectedVolumeSource](): {"sources": fieldRule{optional: true, atomic: true}},
		reflect.TypeFor[corev1.VolumeProjection]():      allow[corev1.VolumeProjection]("configMap downwardAPI secret serviceAccountToken", nil),
		reflect.TypeFor[corev1.SecretProjection]():      {"": atomic, "items": atomic, "name": emptyText},
		reflect.TypeFor[corev1.ConfigMapProjection]():   {"": atomic, "items": atomic, "name": emptyText},
		reflect.TypeFor[corev1.DownwardAPIProjection](): {"items": atomic},
		reflect.TypeFor[corev1.ObjectFieldSelector]():   {"": atomic},
		reflect.TypeFor[corev1.ResourceFieldSelector](): {"": atomic},
		reflect.TypeFor[corev1.ObjectReference]():       {"": atomic},
	}
}

func nodeSelector() *apiextensionsv1.JSONSchemaProps {
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	return &apiextensionsv1.JSONSchemaProps{
		Type: "object", XMapType: ptr("atomic"),
		AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &text},
	}
}

// atomicObject is an object that server-side apply takes as one value and whose inside is kept as it comes.
func atomicObject() *apiextensionsv1.JSONSchemaProps {
	out := opaqueObject()
	out.XMapType = ptr("atomic")
	return &out
}

// allow makes rules for T that refuse every field not in the list of allowed names and adds the rules in more.
func allow[T any](names string, more typeRules) typeRules {
	out := typeRules{}
	refuseFields(out, reflect.TypeFor[T]())
	for _, name := range strings.Fields(names) {
		if _, known := out[name]; !known {
			panic("knative: " + reflect.TypeFor[T]().String() + " has no field " + name)
		}
		delete(out, name)
	}
	maps.Copy(out, more)
	return out
}

func refuseFields(out typeRules, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			refuseFields(out, direct(f.Type))
			continue
		}
		out[name] = fieldRule{refused: true}
	}
}
