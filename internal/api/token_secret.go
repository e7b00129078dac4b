package api

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"

	"github.com/fairlead-dev/fairlead/internal/api/access"
)

// tokenSecretLife is how long the token of a Secret lives; such a Secret is asked for because its token does not run out.
const tokenSecretLife = 10 * 365 * 24 * time.Hour

// tokenSecrets fills Secrets of the type kubernetes.io/service-account-token when they are written. The Secret goes with its
// account, and the token with either.
type tokenSecrets struct {
	tokens  *access.Tokens
	objects access.Objects
	ca      []byte
}

var _ admission.MutationInterface = (*tokenSecrets)(nil)

// Handles reports which operations are looked at.
func (*tokenSecrets) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Admit fills a Secret that has no token, or that of another account.
func (s *tokenSecrets) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	secret, ok := a.GetObject().(*corev1.Secret)
	if !ok || secret.Type != corev1.SecretTypeServiceAccountToken || a.GetSubresource() != "" {
		return nil
	}
	name := secret.Annotations[corev1.ServiceAccountNameKey]
	account, err := s.objects.ServiceAccount(ctx, secret.Namespace, name)
	if err != nil || name == "" {
		path := field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey)
		wrong := field.Invalid(path, name, "must name a service account of this namespace")
		return apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, secret.Name, field.ErrorList{wrong})
	}
	if len(secret.Data[corev1.ServiceAccountTokenKey]) > 0 && secret.Annotations[corev1.ServiceAccountUIDKey] == string(account.UID) {
		return nil
	}
	return s.fill(secret, account)
}

func (s *tokenSecrets) fill(secret *corev1.Secret, account *corev1.ServiceAccount) error {
	if secret.Name == "" {
		return apierrors.NewBadRequest("a Secret with a service account token needs a name of its own: metadata.generateName does not do")
	}
	now := time.Now()
	token, err := s.tokens.IssueFor(secret.Name, account, now, now.Add(tokenSecretLife))
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, corev1.ServiceAccountUIDKey, string(account.UID))
	secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ServiceAccount", Name: account.Name, UID: account.UID}}
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	secret.Data[corev1.ServiceAccountNamespaceKey] = []byte(account.Namespace)
	if len(s.ca) > 0 {
		secret.Data[corev1.ServiceAccountRootCAKey] = s.ca
	}
	return nil
}
