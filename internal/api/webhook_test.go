package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hookServer is a webhook that labels everything and refuses what is called "bad".
type hookServer struct {
	*httptest.Server
	ca    []byte
	calls atomic.Int64
}

func newHookServer(t *testing.T) *hookServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	h := &hookServer{ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(h.answer))
	h.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

func (h *hookServer) answer(w http.ResponseWriter, r *http.Request) {
	h.calls.Add(1)
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: r.URL.Path == "/mutate" || review.Request.Name != "bad"}
	if !review.Response.Allowed {
		review.Response.Result = &metav1.Status{Message: "it is bad"}
	} else if r.URL.Path == "/mutate" {
		kind := admissionv1.PatchTypeJSONPatch
		review.Response.PatchType, review.Response.Patch = &kind, []byte(`[{"op":"add","path":"/metadata/labels","value":{"seen":"yes"}}]`)
	}
	json.NewEncoder(w).Encode(review)
}

func (h *hookServer) client(path string) admissionregistrationv1.WebhookClientConfig {
	url := h.URL + path
	return admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: h.ca}
}

func hookRules(group, resource string) []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
	}}
}

func TestWebhooks(t *testing.T) {
	w, h := begin(t, "", withWidgets), newHookServer(t)
	client, none := w.client(t), admissionregistrationv1.SideEffectClassNone
	_, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "m"},
		Webhooks:   []admissionregistrationv1.MutatingWebhook{{Name: "m.example.com", ClientConfig: h.client("/mutate"), Rules: hookRules("", "configmaps"), SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "v"},
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "v.example.com", ClientConfig: h.client("/validate"), Rules: append(hookRules("", "configmaps"), hookRules("example.com", "widgets")...), SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	maps := client.CoreV1().ConfigMaps("default")
	eventually(t, "the mutating webhook is asked", func(ctx context.Context) (bool, error) {
		m, err := maps.Create(ctx, newMap("a"), metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return m.Labels["seen"] == "yes", maps.Delete(ctx, "a", metav1.DeleteOptions{})
	})
	eventually(t, "the validating webhook is asked", func(ctx context.Context) (bool, error) {
		_, err := maps.Create(ctx, newMap("bad"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), `admission webhook "v.example.com" denied the request: it is bad`), nil
	})
	if _, err := widgetClient(t, w, "default").Create(t.Context(), widget("bad"), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "it is bad") {
		t.Errorf("custom resource: %v", err)
	}
	h.Close()
	if _, err := maps.Create(t.Context(), newMap("c"), metav1.CreateOptions{}); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("with the webhook away: %v", err)
	}
}

func TestValidatingPolicy(t *testing.T) {
	w := begin(t, "", nil)
	client := w.client(t)
	equivalent := admissionregistrationv1.Equivalent
	_, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{MatchPolicy: &equivalent, ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: hookRules("", "configmaps")[0]}}},
			Validations:      []admissionregistrationv1.Validation{{Expression: "object.metadata.name != 'bad'", Message: "that name is bad"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "b"},
		Spec:       admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "p", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the policy refuses", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().ConfigMaps("default").Create(ctx, newMap("bad"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "that name is bad"), nil
	})
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), newMap("good"), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}
