package kinds

import (
	"context"
	"reflect"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// row is one kind: what distinguishes it from every other.
type row struct {
	gvk        schema.GroupVersionKind
	plural     string
	singular   string
	short      []string
	categories []string
	namespaced bool
	object     runtime.Object
	list       runtime.Object
	// status says that the kind has a status subresource.
	status bool
	// generation says that metadata.generation counts the changes of spec.
	generation bool
	// fields are the selectable fields besides the name; nil for none.
	fields *selectable
	// expires says that objects are forgotten some time after their last change.
	expires bool
	// prepare normalizes an object before it is checked; old is nil on create.
	prepare func(object, old runtime.Object)
	// validate checks an object; old is nil on create.
	validate func(ctx context.Context, object, old runtime.Object) field.ErrorList
	// columns are the columns of tables between name and age; nil for none.
	columns *columns
	// unnamed says which characters names may have: nil for a DNS subdomain.
	validName func(name string, prefix bool) []string
}

func (r *row) newObject() runtime.Object { return fresh(r.object) }
func (r *row) newList() runtime.Object   { return fresh(r.list) }

func fresh(o runtime.Object) runtime.Object {
	return reflect.New(reflect.TypeOf(o).Elem()).Interface().(runtime.Object)
}

func (r *row) resource() schema.GroupResource {
	return schema.GroupResource{Group: r.gvk.Group, Resource: r.plural}
}

// CoreResources are the resources of the group without a name.
func CoreResources() map[string]bool {
	core := map[string]bool{}
	for _, r := range coreRows() {
		core[r.plural] = true
	}
	return core
}

// table lists the kinds.
func table() []*row {
	rows := coreRows()
	rows = append(rows, workloadRows()...)
	rows = append(rows, accessRows()...)
	return append(rows, hookRows()...)
}

func coreRows() []*row {
	gv := corev1.SchemeGroupVersion
	return []*row{
		{gvk: gv.WithKind("Namespace"), plural: "namespaces", singular: "namespace", short: []string{"ns"}, object: &corev1.Namespace{}, list: &corev1.NamespaceList{},
			status: true, fields: namespaceFields(), prepare: prepareNamespace, columns: namespaceColumns(), validName: dnsLabel},
		{gvk: gv.WithKind("ConfigMap"), plural: "configmaps", singular: "configmap", short: []string{"cm"}, namespaced: true, object: &corev1.ConfigMap{}, list: &corev1.ConfigMapList{},
			validate: validateConfigMap, columns: configMapColumns()},
		{gvk: gv.WithKind("Secret"), plural: "secrets", singular: "secret", namespaced: true, object: &corev1.Secret{}, list: &corev1.SecretList{},
			fields: secretFields(), prepare: prepareSecret, validate: validateSecret, columns: secretColumns()},
		{gvk: gv.WithKind("Service"), plural: "services", singular: "service", short: []string{"svc"}, categories: []string{"all"}, namespaced: true, object: &corev1.Service{}, list: &corev1.ServiceList{},
			status: true, validate: validateService, columns: serviceColumns(), validName: dnsLabel},
		{gvk: gv.WithKind("Endpoints"), plural: "endpoints", singular: "endpoints", short: []string{"ep"}, namespaced: true, object: &corev1.Endpoints{}, list: &corev1.EndpointsList{},
			columns: endpointsColumns()},
		{gvk: gv.WithKind("ServiceAccount"), plural: "serviceaccounts", singular: "serviceaccount", short: []string{"sa"}, namespaced: true, object: &corev1.ServiceAccount{}, list: &corev1.ServiceAccountList{},
			columns: serviceAccountColumns()},
		{gvk: gv.WithKind("PersistentVolumeClaim"), plural: "persistentvolumeclaims", singular: "persistentvolumeclaim", short: []string{"pvc"}, namespaced: true,
			object: &corev1.PersistentVolumeClaim{}, list: &corev1.PersistentVolumeClaimList{}, status: true, validate: validateClaim, columns: claimColumns()},
		{gvk: gv.WithKind("ResourceQuota"), plural: "resourcequotas", singular: "resourcequota", short: []string{"quota"}, namespaced: true,
			object: &corev1.ResourceQuota{}, list: &corev1.ResourceQuotaList{}, status: true, validate: validateQuota, columns: quotaColumns()},
		{gvk: gv.WithKind("Event"), plural: "events", singular: "event", short: []string{"ev"}, namespaced: true, object: &corev1.Event{}, list: &corev1.EventList{},
			fields: eventFields(), expires: true, validate: validateEvent, columns: eventColumns()},
		{gvk: gv.WithKind("Pod"), plural: "pods", singular: "pod", short: []string{"po"}, categories: []string{"all"}, namespaced: true, object: &corev1.Pod{}, list: &corev1.PodList{},
			status: true, generation: true, fields: podFields(), prepare: preparePod, validate: validatePod, columns: podColumns()},
	}
}

func workloadRows() []*row {
	return []*row{
		{gvk: appsv1.SchemeGroupVersion.WithKind("Deployment"), plural: "deployments", singular: "deployment", short: []string{"deploy"}, categories: []string{"all"}, namespaced: true,
			object: &appsv1.Deployment{}, list: &appsv1.DeploymentList{}, status: true, generation: true, validate: validateDeployment, columns: deploymentColumns()},
		{gvk: batchv1.SchemeGroupVersion.WithKind("Job"), plural: "jobs", singular: "job", categories: []string{"all"}, namespaced: true,
			object: &batchv1.Job{}, list: &batchv1.JobList{}, status: true, generation: true, prepare: prepareJob, validate: validateJob, columns: jobColumns()},
		{gvk: discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), plural: "endpointslices", singular: "endpointslice", namespaced: true,
			object: &discoveryv1.EndpointSlice{}, list: &discoveryv1.EndpointSliceList{}, generation: false, validate: validateEndpointSlice, columns: endpointSliceColumns()},
		{gvk: coordinationv1.SchemeGroupVersion.WithKind("Lease"), plural: "leases", singular: "lease", namespaced: true,
			object: &coordinationv1.Lease{}, list: &coordinationv1.LeaseList{}, columns: leaseColumns()},
		eventRow(), autoscalerRow(),
	}
}

func accessRows() []*row {
	gv := rbacv1.SchemeGroupVersion
	return []*row{
		{gvk: gv.WithKind("Role"), plural: "roles", singular: "role", namespaced: true, object: &rbacv1.Role{}, list: &rbacv1.RoleList{}, validate: validateRole, validName: pathSegment},
		{gvk: gv.WithKind("RoleBinding"), plural: "rolebindings", singular: "rolebinding", namespaced: true, object: &rbacv1.RoleBinding{}, list: &rbacv1.RoleBindingList{},
			validate: validateBinding, columns: bindingColumns(), validName: pathSegment},
		{gvk: gv.WithKind("ClusterRole"), plural: "clusterroles", singular: "clusterrole", object: &rbacv1.ClusterRole{}, list: &rbacv1.ClusterRoleList{}, validate: validateRole, validName: pathSegment},
		{gvk: gv.WithKind("ClusterRoleBinding"), plural: "clusterrolebindings", singular: "clusterrolebinding", object: &rbacv1.ClusterRoleBinding{}, list: &rbacv1.ClusterRoleBindingList{},
			validate: validateBinding, columns: bindingColumns(), validName: pathSegment},
	}
}

func hookRows() []*row {
	gv := admissionregistrationv1.SchemeGroupVersion
	admission := []string{"api-extensions"}
	return []*row{
		{gvk: gv.WithKind("MutatingWebhookConfiguration"), plural: "mutatingwebhookconfigurations", singular: "mutatingwebhookconfiguration", categories: admission,
			object: &admissionregistrationv1.MutatingWebhookConfiguration{}, list: &admissionregistrationv1.MutatingWebhookConfigurationList{}, validate: validateHooks, columns: hookColumns()},
		{gvk: gv.WithKind("ValidatingWebhookConfiguration"), plural: "validatingwebhookconfigurations", singular: "validatingwebhookconfiguration", categories: admission,
			object: &admissionregistrationv1.ValidatingWebhookConfiguration{}, list: &admissionregistrationv1.ValidatingWebhookConfigurationList{}, validate: validateHooks, columns: hookColumns()},
		{gvk: gv.WithKind("ValidatingAdmissionPolicy"), plural: "validatingadmissionpolicies", singular: "validatingadmissionpolicy", categories: admission, status: true, generation: true,
			object: &admissionregistrationv1.ValidatingAdmissionPolicy{}, list: &admissionregistrationv1.ValidatingAdmissionPolicyList{}},
		{gvk: gv.WithKind("ValidatingAdmissionPolicyBinding"), plural: "validatingadmissionpolicybindings", singular: "validatingadmissionpolicybinding", categories: admission,
			object: &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}, list: &admissionregistrationv1.ValidatingAdmissionPolicyBindingList{}},
	}
}
