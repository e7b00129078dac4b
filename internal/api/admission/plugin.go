package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/api/access"
	"github.com/fairlead-dev/fairlead/internal/knative"
)

// Name is the plug-in's name in the API server's list of admission plug-ins.
const Name = "Knative"

// Config says what a Plugin works with.
type Config struct {
	// Kube is asked by the few validations that need the API server; nil leaves that part of them out.
	Kube kubernetes.Interface
	// Logger may be nil.
	Logger *slog.Logger
}

// Plugin is the admission plug-in. It changes and refuses creates and updates of objects and of their status.
type Plugin struct {
	admitter *knative.Admitter
	log      *slog.Logger
}

var (
	_ admission.MutationInterface   = (*Plugin)(nil)
	_ admission.ValidationInterface = (*Plugin)(nil)
)

// New makes a Plugin with the settings of a fresh installation.
func New(c Config) (*Plugin, error) {
	admitter, err := knative.NewAdmitter(knative.AdmitterConfig{Kube: c.Kube})
	if err != nil {
		return nil, fmt.Errorf("preparing Knative's admission: %w", err)
	}
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Plugin{admitter: admitter, log: log}, nil
}

// Handles reports whether an operation is looked at.
func (p *Plugin) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Admit gives Knative's defaults to the object being written, in place.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	object, ok := p.concerns(a)
	if !ok {
		return nil
	}
	r, err := request(a, object)
	if err != nil {
		return err
	}
	out, err := p.admitter.Default(ctx, r)
	if err != nil {
		return err
	}
	var changed unstructured.Unstructured
	if err := changed.UnmarshalJSON(out); err != nil {
		return apierrors.NewInternalError(fmt.Errorf("reading a defaulted %s back: %w", r.Kind.Kind, err))
	}
	object.Object = changed.Object
	return nil
}

// Validate refuses what Knative refuses and sends its advice along as warnings.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if isConfigMap(a) {
		cm, err := configMap(a.GetObject())
		if err != nil {
			return err
		}
		return knative.ValidateConfigMap(cm) //nolint:contextcheck // Upstream's parser of config-gc takes a context and ignores it.
	}
	object, ok := p.concerns(a)
	if !ok {
		return nil
	}
	r, err := request(a, object)
	if err != nil {
		return err
	}
	warnings, err := p.admitter.Validate(ctx, r)
	for _, text := range warnings {
		warning.AddWarning(ctx, "", text)
	}
	return err
}

// concerns gives the object of a write that Knative has rules for. A status that this process writes is none: it was made of upstream's
// Go types, the server takes nothing but the status of it, and the rules are about everything else.
func (p *Plugin) concerns(a admission.Attributes) (*unstructured.Unstructured, bool) {
	if !p.admitter.Handles(a.GetKind()) || (a.GetSubresource() != "" && a.GetSubresource() != "status") {
		return nil, false
	}
	if a.GetSubresource() == "status" && access.ByDaemon(a.GetUserInfo()) {
		return nil, false
	}
	object, ok := a.GetObject().(*unstructured.Unstructured)
	return object, ok
}

func request(a admission.Attributes, object *unstructured.Unstructured) (knative.Request, error) {
	r := knative.Request{
		Operation: admissionv1.Operation(a.GetOperation()), Kind: a.GetKind(), Subresource: a.GetSubresource(),
		User: userInfo(a.GetUserInfo()), DryRun: a.IsDryRun(),
	}
	var err error
	if r.Object, err = json.Marshal(object.Object); err != nil {
		return r, apierrors.NewInternalError(fmt.Errorf("writing a %s as JSON: %w", r.Kind.Kind, err))
	}
	old, ok := a.GetOldObject().(*unstructured.Unstructured)
	if !ok || old == nil {
		return r, nil
	}
	if r.Old, err = json.Marshal(old.Object); err != nil {
		return r, apierrors.NewInternalError(fmt.Errorf("writing the stored %s as JSON: %w", r.Kind.Kind, err))
	}
	return r, nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	if u == nil {
		return authenticationv1.UserInfo{}
	}
	out := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: map[string]authenticationv1.ExtraValue{}}
	for key, values := range u.GetExtra() {
		out.Extra[key] = values
	}
	return out
}

func isConfigMap(a admission.Attributes) bool {
	kind := a.GetKind()
	return kind.Group == "" && kind.Kind == "ConfigMap" && a.GetSubresource() == ""
}

// configMap reads a ConfigMap from whatever Go type the API server holds it in.
func configMap(object runtime.Object) (*corev1.ConfigMap, error) {
	if cm, ok := object.(*corev1.ConfigMap); ok {
		return cm, nil
	}
	data, err := json.Marshal(object)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("writing a ConfigMap as JSON: %w", err))
	}
	var cm corev1.ConfigMap
	if err := json.Unmarshal(data, &cm); err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("reading a ConfigMap: %w", err))
	}
	return &cm, nil
}
