package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// Issuer stands in every token as its maker; it is also the audience of tokens for this API.
const Issuer = "https://kubernetes.default.svc.cluster.local"

// clockLeeway is how far clocks may differ.
const clockLeeway = 10 * time.Second

// Objects looks up what tokens are bound to. A missing object is an error.
type Objects interface {
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Tokens makes and checks the tokens of service accounts: JSON web tokens signed with ES256.
type Tokens struct {
	key     *ecdsa.PrivateKey
	signer  jose.Signer
	objects Objects
}

var _ authenticator.Token = (*Tokens)(nil)

// NewTokens signs with key, a P-256 key that stays the same over restarts.
func NewTokens(key *ecdsa.PrivateKey, objects Objects) (*Tokens, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("access: make signer: %w", err)
	}
	return &Tokens{key: key, signer: signer, objects: objects}, nil
}

// private are the claims beside the registered ones, in upstream's form.
type private struct {
	Kubernetes bound `json:"kubernetes.io,omitempty"`
}

type bound struct {
	Namespace      string  `json:"namespace,omitempty"`
	ServiceAccount object  `json:"serviceaccount"`
	Pod            *object `json:"pod,omitempty"`
	Secret         *object `json:"secret,omitempty"`
}

type object struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

// Issue makes a token for an account, for the audiences given (none: this API), that ends at expires and, where pod is not
// nil, with that pod.
func (t *Tokens) Issue(account *corev1.ServiceAccount, pod *corev1.Pod, audiences []string, now, expires time.Time) (string, error) {
	own := private{bound{Namespace: account.Namespace, ServiceAccount: object{account.Name, account.UID}}}
	if pod != nil {
		own.Kubernetes.Pod = &object{pod.Name, pod.UID}
	}
	return t.sign(own, audiences, now, expires)
}

// IssueFor makes a token for this API that a Secret in the account's namespace holds. It ends at expires, or when a Secret of that
// name does not hold it any more.
func (t *Tokens) IssueFor(secret string, account *corev1.ServiceAccount, now, expires time.Time) (string, error) {
	own := private{bound{Namespace: account.Namespace, ServiceAccount: object{account.Name, account.UID}, Secret: &object{Name: secret}}}
	return t.sign(own, nil, now, expires)
}

func (t *Tokens) sign(own private, audiences []string, now, expires time.Time) (string, error) {
	if len(audiences) == 0 {
		audiences = []string{Issuer}
	}
	of := own.Kubernetes
	claims := jwt.Claims{
		Issuer: Issuer, Subject: serviceaccount.MakeUsername(of.Namespace, of.ServiceAccount.Name), Audience: audiences, ID: string(uuid.NewUUID()),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(expires),
	}
	token, err := jwt.Signed(t.signer).Claims(claims).Claims(own).Serialize()
	if err != nil {
		return "", fmt.Errorf("access: sign token: %w", err)
	}
	return token, nil
}

// errNotBound says that what a token is bound to has gone.
var errNotBound = errors.New("service account token has been invalidated")

// AuthenticateToken recognizes tokens that were made here and still hold. Others are not its business.
func (t *Tokens) AuthenticateToken(ctx context.Context, data string) (*authenticator.Response, bool, error) {
	if strings.Count(data, ".") != 2 {
		return nil, false, nil
	}
	token, err := jwt.ParseSigned(data, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, false, nil
	}
	var claims jwt.Claims
	var own private
	if err := token.Claims(&t.key.PublicKey, &claims, &own); err != nil {
		return nil, false, fmt.Errorf("service account token: %w", err)
	}
	if claims.Expiry == nil {
		return nil, false, errors.New("service account token never ends")
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: Issuer, Time: time.Now()}, clockLeeway); err != nil {
		return nil, false, fmt.Errorf("service account token: %w", err)
	}
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		wanted = authenticator.Audiences{Issuer}
	}
	audiences := wanted.Intersect(authenticator.Audiences(claims.Audience))
	if len(audiences) == 0 {
		return nil, false, fmt.Errorf("service account token is for %q, not for %q", claims.Audience, wanted)
	}
	if err := t.holds(ctx, own.Kubernetes, data); err != nil {
		return nil, false, err
	}
	info := serviceaccount.ServiceAccountInfo{Namespace: own.Kubernetes.Namespace, Name: own.Kubernetes.ServiceAccount.Name, UID: string(own.Kubernetes.ServiceAccount.UID),
		CredentialID: "JTI=" + claims.ID}
	if p := own.Kubernetes.Pod; p != nil {
		info.PodName, info.PodUID = p.Name, string(p.UID)
	}
	return &authenticator.Response{User: info.UserInfo(), Audiences: audiences}, true, nil
}

// holds checks that the account, the pod and the secret of a token are still the same.
func (t *Tokens) holds(ctx context.Context, b bound, token string) error {
	account, err := t.objects.ServiceAccount(ctx, b.Namespace, b.ServiceAccount.Name)
	if err != nil || account.UID != b.ServiceAccount.UID || account.DeletionTimestamp != nil {
		return errNotBound
	}
	if b.Secret != nil {
		secret, err := t.objects.Secret(ctx, b.Namespace, b.Secret.Name)
		if err != nil || subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) != 1 {
			return errNotBound
		}
	}
	if b.Pod == nil {
		return nil
	}
	pod, err := t.objects.Pod(ctx, b.Namespace, b.Pod.Name)
	if err != nil || pod.UID != b.Pod.UID {
		return errNotBound
	}
	return nil
}

// Audiences are those that this API takes tokens for.
func Audiences() authenticator.Audiences { return slices.Clone(authenticator.Audiences{Issuer}) }
