package api

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	authorizerunion "k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	clientset "k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/fairlead-dev/fairlead/internal/api/access"
	"github.com/fairlead-dev/fairlead/internal/api/kinds"
)

// adminUser is who the written kubeconfig speaks for.
const adminUser = "fairlead-admin"

// publicPaths are answered to everybody, also before the roles have been read.
func publicPaths() []string {
	return []string{"/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/version"}
}

// guard finds out who asks and says what they may do.
type guard struct {
	tokens        *access.Tokens
	objects       access.Objects
	rbac          *access.RBAC
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
}

// newGuard reads roles, accounts and pods through the chain's watches.
func (c *chain) newGuard(client clientset.Interface) (*guard, error) {
	s := c.server
	key, err := loadKey(filepath.Join(s.cfg.Dir, "accounts.key"))
	if err != nil {
		return nil, err
	}
	g := &guard{rbac: access.NewRBAC(c.informers.Rbac().V1())}
	objects := &tokenObjects{accounts: c.informers.Core().V1().ServiceAccounts().Lister(), client: client}
	g.objects = objects
	if g.tokens, err = access.NewTokens(key, objects); err != nil {
		return nil, err
	}
	fixed := tokenfile.New(map[string]*user.DefaultInfo{
		s.adminToken: {Name: adminUser, Groups: []string{user.SystemPrivilegedGroup}},
		s.loopToken:  {Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}},
	})
	tokens := tokenunion.New(fixed, g.tokens)
	known := group.NewAuthenticatedGroupAdder(union.New(bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens)))
	g.authenticator = union.NewFailOnError(known, anonymous.NewAuthenticator([]apiserver.AnonymousAuthCondition{}))
	public, err := path.NewAuthorizer(publicPaths())
	if err != nil {
		return nil, fmt.Errorf("api: public paths: %w", err)
	}
	g.authorizer = authorizerunion.New(authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup), public, g.rbac)
	return g, nil
}

// apply makes a server's configuration use the guard.
func (g *guard) apply(config *genericapiserver.RecommendedConfig) {
	config.Authentication.APIAudiences = access.Audiences()
	config.Authentication.Authenticator = g.authenticator
	config.Authorization.Authorizer = g.authorizer
	config.RuleResolver = g.rbac
}

// tokenObjects looks up what tokens are bound to: accounts in the watch's copy first, because they are asked for with each
// request, pods and secrets in the store.
type tokenObjects struct {
	accounts corelisters.ServiceAccountLister
	client   clientset.Interface
}

func (o *tokenObjects) ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	if account, err := o.accounts.ServiceAccounts(namespace).Get(name); err == nil {
		return account, nil
	}
	return o.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (o *tokenObjects) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return o.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (o *tokenObjects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return o.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

// installAccess adds the reviews and the making of tokens.
func (c *chain) installAccess(storage kinds.Storage) error {
	for gv, resources := range access.Reviews(c.guard.authenticator, c.guard.authorizer, c.guard.rbac) {
		storage[gv] = resources
	}
	core := storage[corev1.SchemeGroupVersion]
	accounts, ok1 := core["serviceaccounts"].(rest.Getter)
	pods, ok2 := core["pods"].(rest.Getter)
	if !ok1 || !ok2 {
		return fmt.Errorf("api: the stores of accounts and pods cannot be read: %T, %T", core["serviceaccounts"], core["pods"])
	}
	core["serviceaccounts/token"] = &access.TokenRequest{Accounts: accounts, Pods: pods, Tokens: c.guard.tokens}
	return nil
}
