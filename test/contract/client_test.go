package contract_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

var clientPromises = []promise{
	{"the kubeconfig has one cluster, one user and one context, with TLS and a token", holdsKubeconfig},
	{"istio-system/istio-ingressgateway tells the gateway's address and ports", holdsGatewayService},
	{"built-in kinds speak protobuf, Knative's kinds JSON", holdsEncodings},
	{"a list carries its own kind", holdsListKind},
	{"a deletion in the foreground takes the children along", holdsForeground},
	{"a dry run changes nothing", holdsDryRun},
	{"JSON patch, merge patch and server-side apply change a Service; strategic merge changes a core object", holdsPatches},
	{"a watch of one name from a resource version tells when a Service becomes ready", holdsWatch},
	{"an image pinned by the digest that a revision reported runs", holdsDigest},
}

func holdsKubeconfig(t *testing.T, h *house) {
	config, err := clientcmd.LoadFromFile(filepath.Join(h.Home, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Clusters) != 1 || len(config.AuthInfos) != 1 || len(config.Contexts) != 1 || config.CurrentContext == "" {
		t.Fatalf("%+v", config)
	}
	for _, c := range config.Clusters {
		if !strings.HasPrefix(c.Server, "https://127.0.0.1:") || len(c.CertificateAuthorityData) == 0 || c.InsecureSkipTLSVerify {
			t.Errorf("cluster %s, insecure %t", c.Server, c.InsecureSkipTLSVerify)
		}
	}
	for _, u := range config.AuthInfos {
		if u.Token == "" {
			t.Error("the user has no token")
		}
	}
}

func holdsGatewayService(t *testing.T, h *house) {
	s, err := h.Kube.CoreV1().Services("istio-system").Get(t.Context(), "istio-ingressgateway", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Status.LoadBalancer.Ingress) == 0 || s.Status.LoadBalancer.Ingress[0].IP != "127.0.0.1" {
		t.Errorf("load balancer %+v", s.Status.LoadBalancer)
	}
	listens := map[int32]string{80: h.Info.Gateway, 443: h.Info.GatewayTLS}
	for _, p := range s.Spec.Ports {
		if want, ok := listens[p.Port]; ok && strings.HasSuffix(want, ":"+strconv.Itoa(int(p.NodePort))) {
			delete(listens, p.Port)
		}
	}
	if len(listens) > 0 {
		t.Errorf("ports %+v, missing %v", s.Spec.Ports, listens)
	}
}

// raw asks the API for a path in a media type and gives the type and the first bytes of the answer.
func (h *house) raw(t *testing.T, path, accept string) (contentType string, body []byte) {
	t.Helper()
	client, err := rest.HTTPClientFor(h.REST)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.REST.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.Header.Get("Content-Type"), body
}

func holdsEncodings(t *testing.T, h *house) {
	const protobuf = "application/vnd.kubernetes.protobuf"
	for _, path := range []string{"/api/v1/namespaces", "/apis/apps/v1/deployments", "/apis/rbac.authorization.k8s.io/v1/clusterroles"} {
		if contentType, body := h.raw(t, path, protobuf); contentType != protobuf || !bytes.HasPrefix(body, []byte("k8s\x00")) {
			t.Errorf("%s: %s", path, contentType)
		}
	}
	if contentType, _ := h.raw(t, "/apis/serving.knative.dev/v1/services", protobuf+",application/json"); !strings.HasPrefix(contentType, "application/json") {
		t.Errorf("Services in %s", contentType)
	}
	config := rest.CopyConfig(h.REST)
	config.ContentType = protobuf
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "sent-as-protobuf"}, Data: map[string]string{"k": "v"}}
	if _, err := kube.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := h.Kube.CoreV1().ConfigMaps("default").Get(t.Context(), m.Name, metav1.GetOptions{})
	if err != nil || got.Data["k"] != "v" {
		t.Errorf("%v %v", got, err)
	}
}

func holdsListKind(t *testing.T, h *house) {
	for path, kind := range map[string]string{
		"/apis/serving.knative.dev/v1/services":            "ServiceList",
		"/apis/serving.knative.dev/v1/revisions":           "RevisionList",
		"/apis/serving.knative.dev/v1beta1/domainmappings": "DomainMappingList",
		"/apis/eventing.knative.dev/v1/triggers":           "TriggerList",
		"/api/v1/pods":                                     "PodList",
	} {
		if _, body := h.raw(t, path, "application/json"); !bytes.Contains(body, []byte(`"kind":"`+kind+`"`)) {
			t.Errorf("%s: %.200s", path, body)
		}
	}
}

func holdsForeground(t *testing.T, h *house) {
	h.ready(t, h.service("foreground"))
	policy := metav1.DeletePropagationForeground
	if err := h.Serving.ServingV1().Services("default").Delete(t.Context(), "foreground", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left", func(ctx context.Context) error {
		_, service := h.Serving.ServingV1().Services("default").Get(ctx, "foreground", metav1.GetOptions{})
		_, route := h.Serving.ServingV1().Routes("default").Get(ctx, "foreground", metav1.GetOptions{})
		_, configuration := h.Serving.ServingV1().Configurations("default").Get(ctx, "foreground", metav1.GetOptions{})
		_, revision := h.Serving.ServingV1().Revisions("default").Get(ctx, "foreground-00001", metav1.GetOptions{})
		for _, err := range []error{service, route, configuration, revision} {
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %w", err)
			}
		}
		return nil
	})
}

func holdsDryRun(t *testing.T, h *house) {
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	made, err := h.Serving.ServingV1().Services("default").Create(t.Context(), h.service("only-tried"), dry)
	if err != nil || made.UID == "" {
		t.Fatalf("%v %v", made, err)
	}
	if _, err := h.Serving.ServingV1().Services("default").Get(t.Context(), "only-tried", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after a dry run: %v, want not found", err)
	}
}

func holdsPatches(t *testing.T, h *house) {
	s := h.service("patched")
	h.create(t, s)
	services := h.Serving.ServingV1().Services("default")
	for kind, patch := range map[types.PatchType]string{
		types.JSONPatchType:  `[{"op":"add","path":"/metadata/labels","value":{"json":"yes"}}]`,
		types.MergePatchType: `{"metadata":{"annotations":{"example.com/merged":"yes"}}}`,
		types.ApplyPatchType: `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"patched","annotations":{"example.com/applied":"yes"}}}`,
	} {
		options := metav1.PatchOptions{}
		if kind == types.ApplyPatchType {
			options.FieldManager = "contract"
		}
		if _, err := services.Patch(t.Context(), "patched", kind, []byte(patch), options); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	got, err := services.Get(t.Context(), "patched", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Labels["json"] != "yes" || got.Annotations["example.com/merged"] != "yes" || got.Annotations["example.com/applied"] != "yes" {
		t.Errorf("labels %v, annotations %v", got.Labels, got.Annotations)
	}
	maps := h.Kube.CoreV1().ConfigMaps("default")
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "merged"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	m, err := maps.Patch(t.Context(), "merged", types.StrategicMergePatchType, []byte(`{"data":{"b":"2"}}`), metav1.PatchOptions{})
	if err != nil || m.Data["a"] != "1" || m.Data["b"] != "2" {
		t.Errorf("%v %v", m, err)
	}
}

func holdsWatch(t *testing.T, h *house) {
	made := h.create(t, h.service("watched"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	changes, err := h.Serving.ServingV1().Services("default").Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=watched", ResourceVersion: made.ResourceVersion,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		s, ok := change.Object.(*v1.Service)
		if !ok || s.Name != "watched" {
			t.Fatalf("%s of %+v", change.Type, change.Object)
		}
		if s.IsReady() {
			return
		}
	}
	t.Error("the watch ended before the Service was ready")
}

func holdsDigest(t *testing.T, h *house) {
	h.ready(t, h.service("by-name"))
	digest := h.revision(t, "by-name-00001").Status.ContainerStatuses[0].ImageDigest
	if !strings.Contains(digest, "@sha256:") {
		t.Fatalf("image digest %q", digest)
	}
	h.ready(t, h.service("by-digest", container(func(c *corev1.Container) { c.Image = digest })))
	if got := h.ask(t, "by-digest", "/"); got != "by-digest" {
		t.Errorf("answered %q", got)
	}
}

var kindPromises = []promise{
	{"every kind is discovered with its verbs", holdsVerbs},
	{"a namespace gets a default ServiceAccount, and is emptied when it is deleted", holdsNamespace},
	{"a Secret's stringData becomes data", holdsStringData},
	{"a ServiceAccount's token can be asked for, and says who it is", holdsToken},
	{"a Pod is listed by label and field, logged, entered and deleted", holdsPods},
	{"a plain Pod may be created", holdsPlainPod},
	{"a revision's Deployment and EndpointSlices tell what runs", holdsViews},
	{"the ConfigMaps of knative-serving and knative-eventing are there", holdsConfigMaps},
	{"a changed ConfigMap is obeyed at once", holdsConfigObeyed},
}

func holdsVerbs(t *testing.T, h *house) {
	all := []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	read := []string{"get", "list", "watch"}
	for groupVersion, resources := range map[string]map[string][]string{
		"serving.knative.dev/v1":                    {"services": all, "configurations": all, "routes": all, "revisions": {"get", "list", "watch", "delete", "update", "patch"}, "services/status": {"get"}},
		"serving.knative.dev/v1beta1":               {"domainmappings": all},
		"networking.internal.knative.dev/v1alpha1":  {"clusterdomainclaims": all, "serverlessservices": read, "ingresses": read},
		"autoscaling.internal.knative.dev/v1alpha1": {"podautoscalers": read},
		"v1": {
			"namespaces": {"create", "delete", "get", "list", "patch", "update", "watch"}, "configmaps": all, "secrets": all, "services": all, "endpoints": all, "serviceaccounts": all,
			"serviceaccounts/token": {"create"}, "persistentvolumeclaims": all, "events": {"create", "list", "watch"},
			"pods": {"create", "delete", "get", "list", "watch"}, "pods/log": {"get"}, "pods/exec": {"create"},
		},
		"apps/v1":                      {"deployments": read},
		"discovery.k8s.io/v1":          {"endpointslices": read},
		"coordination.k8s.io/v1":       {"leases": all},
		"rbac.authorization.k8s.io/v1": {"roles": all, "rolebindings": all, "clusterroles": all, "clusterrolebindings": all},
		"authorization.k8s.io/v1":      {"subjectaccessreviews": {"create"}, "selfsubjectaccessreviews": {"create"}, "selfsubjectrulesreviews": {"create"}},
		"eventing.knative.dev/v1":      {"brokers": all, "triggers": all},
		"messaging.knative.dev/v1":     {"channels": all, "subscriptions": all, "inmemorychannels": all},
		"flows.knative.dev/v1":         {"sequences": all, "parallels": all},
		"sources.knative.dev/v1":       {"pingsources": all, "containersources": all, "sinkbindings": all, "apiserversources": all},
	} {
		list, err := h.Kube.Discovery().ServerResourcesForGroupVersion(groupVersion)
		if err != nil {
			t.Errorf("%s: %v", groupVersion, err)
			continue
		}
		for name, verbs := range resources {
			i := slices.IndexFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == name })
			if i < 0 {
				t.Errorf("%s has no %s", groupVersion, name)
				continue
			}
			for _, verb := range verbs {
				if !slices.Contains([]string(list.APIResources[i].Verbs), verb) {
					t.Errorf("%s %s cannot %s, only %v", groupVersion, name, verb, list.APIResources[i].Verbs)
				}
			}
		}
	}
}
