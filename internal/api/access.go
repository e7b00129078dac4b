package api

import (
	"fmt"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	authorizerunion "k8s.io/apiserver/pkg/authorization/union"
)

// publicPaths are answered to everybody.
var publicPaths = []string{"/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/version"}

// adminUser is who the written kubeconfig speaks for.
const adminUser = "fairlead-admin"

// authenticator finds out who asks.
func (s *Server) authenticator() authenticator.Request {
	tokens := tokenfile.New(map[string]*user.DefaultInfo{
		s.adminToken: {Name: adminUser, Groups: []string{user.SystemPrivilegedGroup}},
		s.loopToken:  {Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}},
	})
	known := group.NewAuthenticatedGroupAdder(bearertoken.New(tokens))
	return union.New(known, anonymous.NewAuthenticator([]apiserver.AnonymousAuthCondition{}))
}

// authorizer says who may do what.
func (s *Server) authorizer() (authorizer.Authorizer, error) {
	public, err := path.NewAuthorizer(publicPaths)
	if err != nil {
		return nil, fmt.Errorf("api: public paths: %w", err)
	}
	return authorizerunion.New(authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup), public), nil
}
