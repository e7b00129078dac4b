package access

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
)

const (
	tokenLifeDefault = time.Hour
	tokenLifeMin     = 10 * time.Minute
	tokenLifeMax     = 365 * 24 * time.Hour
)

// TokenRequest serves serviceaccounts/token.
type TokenRequest struct {
	// Accounts and Pods read the stored objects.
	Accounts, Pods rest.Getter
	Tokens         *Tokens
}

var (
	_ rest.NamedCreater             = (*TokenRequest)(nil)
	_ rest.GroupVersionKindProvider = (*TokenRequest)(nil)
)

// New is what clients send.
func (*TokenRequest) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy does nothing: nothing was opened.
func (*TokenRequest) Destroy() {}

// GroupVersionKind says that a request is not of the group of its path.
func (*TokenRequest) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

// Create makes a token for the account named.
func (t *TokenRequest) Create(ctx context.Context, name string, o runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	asked, ok := o.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %T", o))
	}
	account, err := t.account(ctx, name)
	if err != nil {
		return nil, err
	}
	asked.Name, asked.Namespace, asked.CreationTimestamp = account.Name, account.Namespace, metav1.Now()
	life, errs := tokenLife(asked.Spec.ExpirationSeconds)
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: authenticationv1.GroupName, Kind: "TokenRequest"}, name, errs)
	}
	if validate != nil {
		if err := validate(ctx, asked.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	pod, err := t.boundPod(ctx, account, asked.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}
	if len(asked.Spec.Audiences) == 0 {
		asked.Spec.Audiences = []string{Issuer}
	}
	now := time.Now()
	seconds := int64(life / time.Second)
	asked.Spec.ExpirationSeconds = &seconds
	asked.Status.ExpirationTimestamp = metav1.NewTime(now.Add(life))
	if dryrun.IsDryRun(options.DryRun) {
		return asked, nil
	}
	asked.Status.Token, err = t.Tokens.Issue(account, pod, asked.Spec.Audiences, now, now.Add(life))
	return asked, err
}

func (t *TokenRequest) account(ctx context.Context, name string) (*corev1.ServiceAccount, error) {
	found, err := t.Accounts.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return found.(*corev1.ServiceAccount), nil
}

func tokenLife(seconds *int64) (time.Duration, field.ErrorList) {
	if seconds == nil || *seconds == 0 {
		return tokenLifeDefault, nil
	}
	life := time.Duration(*seconds) * time.Second
	at := field.NewPath("spec", "expirationSeconds")
	switch {
	case *seconds < int64(tokenLifeMin/time.Second):
		return 0, field.ErrorList{field.Invalid(at, *seconds, "may not specify a duration less than 10 minutes")}
	case *seconds > 1<<32:
		return 0, field.ErrorList{field.Invalid(at, *seconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return min(life, tokenLifeMax), nil
}

// boundPod finds the pod that a token should end with. A token can be bound to a pod only.
func (t *TokenRequest) boundPod(ctx context.Context, account *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference) (*corev1.Pod, error) {
	if ref == nil {
		return nil, nil
	}
	if ref.Kind != "Pod" || ref.APIVersion != "v1" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s %s", ref.APIVersion, ref.Kind))
	}
	found, err := t.Pods.Get(request.WithNamespace(ctx, account.Namespace), ref.Name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod := found.(*corev1.Pod)
	if ref.UID != "" && ref.UID != pod.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, ref.Name, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	if pod.Spec.ServiceAccountName != account.Name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
	}
	return pod, nil
}
