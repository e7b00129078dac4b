package knative

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/logging"
	webhookjson "knative.dev/pkg/webhook/json"
	"knative.dev/pkg/webhook/resourcesemantics"
)

// Request is one write of a Knative object, as the API server sees it.
type Request struct {
	// Operation is Create, Update, Delete or Connect; only the first two are looked at.
	Operation admissionv1.Operation
	Kind      schema.GroupVersionKind
	// Subresource is empty for the object itself, "status" for its status.
	Subresource string
	// Object is the new object and Old the stored one, as JSON; Old is empty on Create.
	Object, Old []byte
	// User writes; the name goes into the creator and lastModifier annotations.
	User authenticationv1.UserInfo
	// DryRun is true when nothing will be stored.
	DryRun bool
}

// AdmitterConfig says what an Admitter works with.
type AdmitterConfig struct {
	// Kube is what the few validations that ask the API server use (JobSink creates its Job in a dry run, a dry run of a
	// Service a Pod of its template). With nil they check the object alone. Ask sets it later.
	Kube kubernetes.Interface
}

// Admitter runs Knative's own defaults and validation. Its zero value is not usable; every method may be called from
// many goroutines.
type Admitter struct {
	kube     atomic.Pointer[kubernetes.Interface] // nil: nobody to ask
	hooks    map[schema.GroupVersionKind]hook
	settings settings
	quiet    *zap.SugaredLogger
}

// hook is what upstream registers for a kind: its Go type and the names of the two webhooks that handle it.
type hook struct {
	object                resourcesemantics.GenericCRD
	defaulting, validator string
	strict                bool // unknown fields are an error
}

// NewAdmitter makes an Admitter whose settings are those of SeedConfigMaps; Configure changes them.
func NewAdmitter(c AdmitterConfig) (*Admitter, error) {
	a := &Admitter{hooks: hooks(), quiet: zap.NewNop().Sugar()}
	a.Ask(c.Kube)
	for _, cm := range SeedConfigMaps() {
		if err := a.Configure(cm); err != nil {
			return nil, fmt.Errorf("seed of ConfigMap %s/%s: %w", cm.Namespace, cm.Name, err)
		}
	}
	return a, nil
}

// Ask names the API server that validations may ask from now on; nil leaves that part of them out.
func (a *Admitter) Ask(kube kubernetes.Interface) {
	if kube == nil {
		a.kube.Store(nil)
		return
	}
	a.kube.Store(&kube)
}

// Handles reports whether a kind has defaults and validation of its own.
func (a *Admitter) Handles(kind schema.GroupVersionKind) bool {
	_, ok := a.hooks[kind]
	return ok
}

// Default gives the object with Knative's defaults and its creator and lastModifier annotations, as JSON. An object
// that cannot be decoded is refused with upstream's text. A kind or operation without defaults gives r.Object.
func (a *Admitter) Default(ctx context.Context, r Request) (out []byte, err error) {
	h, ok := a.hooks[r.Kind]
	if !ok || !writes(r) {
		return r.Object, nil
	}
	defer guard(h.defaulting, r, &err)
	out, err = a.defaulted(a.context(ctx, r), h, r)
	if err != nil {
		return nil, denied(h.defaulting, "mutation failed: %v", err)
	}
	return out, nil
}

// Validate checks an object that has been through Default. The error is an API status error with upstream's text;
// warnings are advice that refuses nothing, one line each.
func (a *Admitter) Validate(ctx context.Context, r Request) (warnings []string, err error) {
	h, ok := a.hooks[r.Kind]
	if !ok || !writes(r) {
		return nil, nil
	}
	defer guard(h.validator, r, &err)
	object, old, err := decodeBoth(h, r)
	if err != nil {
		return nil, denied(h.validator, "decoding request failed: %v", err)
	}
	ctx = within(apis.WithUserInfo(a.context(ctx, r), &r.User), r, old)
	result := a.validate(ctx, object)
	if advice := result.Filter(apis.WarningLevel); advice != nil {
		for _, w := range advice.WrappedErrors() {
			warnings = append(warnings, strings.Split(w.Error(), "\n")...)
		}
	}
	if refusal := result.Filter(apis.ErrorLevel); refusal != nil {
		return warnings, denied(h.validator, "validation failed: %v", refusal)
	}
	if err := a.tryPods(ctx, r); err != nil {
		return warnings, denied(h.validator, "validation callback failed: %v", err)
	}
	return warnings, nil
}

func writes(r Request) bool {
	return r.Operation == admissionv1.Create || r.Operation == admissionv1.Update
}

// context carries everything upstream's types look for in a context.
func (a *Admitter) context(ctx context.Context, r Request) context.Context {
	ctx = logging.WithLogger(ctx, a.quiet)
	ctx = a.settings.context(ctx)
	if r.DryRun {
		ctx = apis.WithDryRun(ctx)
	}
	return ctx
}

// within tells upstream's types what is happening to the object.
func within(ctx context.Context, r Request, old resourcesemantics.GenericCRD) context.Context {
	switch {
	case old == nil:
		return apis.WithinCreate(ctx)
	case r.Subresource != "":
		return apis.WithinSubResourceUpdate(ctx, old, r.Subresource)
	default:
		return apis.WithinUpdate(ctx, old)
	}
}

func (a *Admitter) defaulted(ctx context.Context, h hook, r Request) ([]byte, error) {
	object, old, err := decodeBoth(h, r)
	if err != nil {
		return nil, err
	}
	if old != nil {
		// The stored object may be older than a default: give it the same ones, so that they are no change.
		old.SetDefaults(ctx)
	}
	ctx = apis.WithUserInfo(within(ctx, r, old), &r.User)
	object.SetDefaults(ctx)
	annotateUser(object, old, r)
	out, err := marshal(object)
	if err != nil {
		return nil, fmt.Errorf("cannot marshal interface: %w", err)
	}
	return out, nil
}

// marshal writes an object without nulls: some Go types write one for what is missing, which the schema refuses.
func marshal(object any) ([]byte, error) {
	data, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := utiljson.Unmarshal(data, &tree); err != nil {
		return nil, err
	}
	dropNulls(tree)
	return json.Marshal(tree)
}

func dropNulls(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if inner == nil {
				delete(v, key)
				continue
			}
			dropNulls(inner)
		}
	case []any:
		for _, inner := range v {
			dropNulls(inner)
		}
	}
}

var errNoObject = errors.New("the new object may not be nil")

func decodeBoth(h hook, r Request) (object, old resourcesemantics.GenericCRD, err error) {
	if len(r.Object) == 0 {
		return nil, nil, errNoObject
	}
	object, err = decode(h, r.Object)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot decode incoming new object: %w", err)
	}
	if len(r.Old) == 0 {
		return object, nil, nil
	}
	old, err = decode(h, r.Old)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot decode incoming old object: %w", err)
	}
	return object, old, nil
}

func decode(h hook, data []byte) (resourcesemantics.GenericCRD, error) {
	object := h.object.DeepCopyObject().(resourcesemantics.GenericCRD)
	if err := webhookjson.Decode(data, object, h.strict); err != nil {
		return nil, err
	}
	return object, nil
}

// denied is the refusal as the API server words it for a webhook that answers "bad request".
func denied(webhook, format string, args ...any) error {
	return apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q denied the request: ", webhook) + fmt.Sprintf(format, args...))
}

// errUpstreamPanic marks a panic inside upstream's code, so that a fuzz test can tell it from a refusal.
var errUpstreamPanic = errors.New("panic in Knative's code")

// guard keeps a panic in upstream's code from ending more than the one request; upstream's webhook is a process of
// its own whose HTTP server does the same.
func guard(webhook string, r Request, err *error) {
	if p := recover(); p != nil {
		*err = apierrors.NewInternalError(fmt.Errorf("%w: webhook %q on a %s: %v\n%s", errUpstreamPanic, webhook, r.Kind.Kind, p, debug.Stack()))
	}
}
