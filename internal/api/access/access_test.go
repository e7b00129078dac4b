package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func TestAllows(t *testing.T) {
	resource := func(verb, group, resource, subresource, name string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{Verb: verb, APIGroup: group, Resource: resource, Subresource: subresource, Name: name, ResourceRequest: true}
	}
	path := func(verb, path string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{Verb: verb, Path: path}
	}
	pods := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	logs := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"*/log"}}
	named := rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"apps"}, Resources: []string{"deployments/scale"}, ResourceNames: []string{"a"}}
	all := rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}
	paths := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/api/*", "/version"}}
	for _, test := range []struct {
		rule rbacv1.PolicyRule
		ask  authorizer.AttributesRecord
		want bool
	}{
		{pods, resource("get", "", "pods", "", "x"), true},
		{pods, resource("list", "", "pods", "", ""), false},
		{pods, resource("get", "apps", "pods", "", ""), false},
		{pods, resource("get", "", "pods", "log", ""), false},
		{pods, path("get", "/version"), false},
		{logs, resource("get", "", "pods", "log", ""), true},
		{logs, resource("get", "", "pods", "exec", ""), false},
		{named, resource("update", "apps", "deployments", "scale", "a"), true},
		{named, resource("update", "apps", "deployments", "scale", "b"), false},
		{named, resource("update", "apps", "deployments", "", "a"), false},
		{all, resource("delete", "any", "thing", "sub", "x"), true},
		{all, path("get", "/version"), false},
		{paths, path("get", "/api/v1"), true},
		{paths, path("get", "/api"), false},
		{paths, path("get", "/version"), true},
		{paths, path("post", "/version"), false},
		{paths, resource("get", "", "pods", "", ""), false},
	} {
		if got := allows(&test.rule, test.ask); got != test.want {
			t.Errorf("%+v allows %+v: %v", test.rule, test.ask, got)
		}
	}
}

func TestConcerns(t *testing.T) {
	who := &user.DefaultInfo{Name: "system:serviceaccount:team:robot", Groups: []string{"g"}}
	for _, test := range []struct {
		subject   rbacv1.Subject
		namespace string
		want      bool
	}{
		{rbacv1.Subject{Kind: "Group", Name: "g"}, "", true},
		{rbacv1.Subject{Kind: "User", Name: "system:serviceaccount:team:robot"}, "", true},
		{rbacv1.Subject{Kind: "ServiceAccount", Name: "robot", Namespace: "team"}, "other", true},
		{rbacv1.Subject{Kind: "ServiceAccount", Name: "robot"}, "team", true},
		{rbacv1.Subject{Kind: "ServiceAccount", Name: "robot"}, "", false},
		{rbacv1.Subject{Kind: "ServiceAccount", Name: "robot", Namespace: "other"}, "team", false},
		{rbacv1.Subject{Kind: "Thing", Name: "g"}, "", false},
	} {
		if got := concerns(&test.subject, who, test.namespace); got != test.want {
			t.Errorf("%+v in %q: %v", test.subject, test.namespace, got)
		}
	}
}

// oneAccount knows a single account.
type oneAccount struct{ account *corev1.ServiceAccount }

func (o oneAccount) ServiceAccount(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	if namespace == o.account.Namespace && name == o.account.Name {
		return o.account, nil
	}
	return nil, errors.New("not there")
}

func (oneAccount) Secret(context.Context, string, string) (*corev1.Secret, error) {
	return nil, errors.New("no secrets")
}

func (oneAccount) Pod(context.Context, string, string) (*corev1.Pod, error) {
	return nil, errors.New("not there")
}

func newTokens(t testing.TB) (*Tokens, *corev1.ServiceAccount) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "a", UID: "u"}}
	tokens, err := NewTokens(key, oneAccount{account})
	if err != nil {
		t.Fatal(err)
	}
	return tokens, account
}

func TestTokenHolds(t *testing.T) {
	tokens, account := newTokens(t)
	others, _ := newTokens(t)
	now := time.Now()
	again := *account
	again.UID = "another"
	issue := func(by *Tokens, account *corev1.ServiceAccount, pod *corev1.Pod, now, expires time.Time) string {
		token, err := by.Issue(account, pod, nil, now, expires)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for what, test := range map[string]struct {
		token string
		want  bool
	}{
		"good":               {issue(tokens, account, nil, now, now.Add(time.Hour)), true},
		"ended":              {issue(tokens, account, nil, now.Add(-time.Hour), now.Add(-time.Minute)), false},
		"not yet":            {issue(tokens, account, nil, now.Add(time.Hour), now.Add(2*time.Hour)), false},
		"of another key":     {issue(others, account, nil, now, now.Add(time.Hour)), false},
		"of an old account":  {issue(tokens, &again, nil, now, now.Add(time.Hour)), false},
		"of a pod that went": {issue(tokens, account, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "x"}}, now, now.Add(time.Hour)), false},
		"unsigned":           {"eyJhbGciOiJub25lIn0.e30.", false},
		"no token":           {"abc", false},
	} {
		_, ok, err := tokens.AuthenticateToken(t.Context(), test.token)
		if ok != test.want {
			t.Errorf("%s: %v, %v", what, ok, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	tokens, account := newTokens(f)
	good, err := tokens.Issue(account, nil, nil, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		signed := good[:strings.LastIndexByte(good, '.')]
		if _, ok, _ := tokens.AuthenticateToken(t.Context(), token); ok && !strings.HasPrefix(token, signed) {
			t.Errorf("taken: %q", token)
		}
	})
}
