package api_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// token asks for a token of the account default in namespace default.
func token(t *testing.T, w *world, spec authenticationv1.TokenRequestSpec) string {
	t.Helper()
	made, err := w.client(t).CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made.Status.Token
}

func as(t *testing.T, w *world, token string) *kubernetes.Clientset {
	t.Helper()
	c := rest.CopyConfig(w.admin(t))
	c.BearerToken = token
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func bind(name, kind, role string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{Kind: kind, Name: role},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "default", Namespace: "default"}},
	}
}

func TestAccountMayOnlyWhatItWasGiven(t *testing.T) {
	w := begin(t, "", nil)
	admin, account := w.client(t), as(t, w, token(t, w, authenticationv1.TokenRequestSpec{}))
	_, err := account.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "system:serviceaccount:default:default" cannot list resource "configmaps" in API group "" in the namespace "default"`) {
		t.Fatalf("without a role: %v", err)
	}
	if _, err := admin.RbacV1().RoleBindings("default").Create(t.Context(), bind("view", "ClusterRole", "view"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role takes effect", func(ctx context.Context) (bool, error) {
		_, err := account.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
	if _, err := account.CoreV1().ConfigMaps("kube-system").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("another namespace: %v", err)
	}
	if _, err := account.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("secrets: %v", err)
	}
	if _, err := account.CoreV1().ConfigMaps("default").Create(t.Context(), newMap("a"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("writing: %v", err)
	}
	if err := admin.RbacV1().RoleBindings("default").Delete(t.Context(), "view", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role is taken away", func(ctx context.Context) (bool, error) {
		_, err := account.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
		return apierrors.IsForbidden(err), nil
	})
}

func TestNobodyGivesWhatTheyDoNotHave(t *testing.T) {
	w := begin(t, "", nil)
	admin, account := w.client(t), as(t, w, token(t, w, authenticationv1.TokenRequestSpec{}))
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "giver"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"rbac.authorization.k8s.io"}, Resources: []string{"roles", "rolebindings"}, Verbs: []string{"create", "get", "list"}},
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"only"}, Verbs: []string{"get"}},
	}}
	if _, err := admin.RbacV1().Roles("default").Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.RbacV1().RoleBindings("default").Create(t.Context(), bind("giver", "Role", "giver"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role takes effect", func(ctx context.Context) (bool, error) {
		_, err := account.RbacV1().Roles("default").List(ctx, metav1.ListOptions{})
		return err == nil, nil
	})
	_, err := account.RbacV1().RoleBindings("default").Create(t.Context(), bind("more", "ClusterRole", "cluster-admin"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "is attempting to grant RBAC permissions not currently held") {
		t.Errorf("binding to cluster-admin: %v", err)
	}
	_, err = account.RbacV1().Roles("default").Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a role with more: %v", err)
	}
	if _, err := account.RbacV1().RoleBindings("default").Create(t.Context(), bind("same", "Role", "giver"), metav1.CreateOptions{}); err != nil {
		t.Errorf("giving what one has: %v", err)
	}
	if _, err := account.CoreV1().ConfigMaps("default").Get(t.Context(), "only", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the one that is named: %v, want not found", err)
	}
	if _, err := account.CoreV1().ConfigMaps("default").Get(t.Context(), "other", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("one that is not named: %v", err)
	}
}

func TestTokens(t *testing.T) {
	w := begin(t, "", nil)
	admin := w.client(t)
	review := func(token string, audiences ...string) authenticationv1.TokenReviewStatus {
		r, err := admin.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	plain := token(t, w, authenticationv1.TokenRequestSpec{})
	if s := review(plain); !s.Authenticated || s.User.Username != "system:serviceaccount:default:default" || !contains(s.User.Groups, "system:serviceaccounts:default") {
		t.Errorf("plain token: %+v", s)
	}
	other := token(t, w, authenticationv1.TokenRequestSpec{Audiences: []string{"other"}})
	if s := review(other); s.Authenticated {
		t.Errorf("a token for another audience: %+v", s)
	}
	if s := review(other, "other"); !s.Authenticated || !contains(s.Audiences, "other") {
		t.Errorf("a token for its own audience: %+v", s)
	}
	if s := review(plain[:len(plain)-4] + "AAAA"); s.Authenticated {
		t.Errorf("a forged token: %+v", s)
	}
	pod, err := admin.CoreV1().Pods("default").Create(t.Context(), simplePod("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bound := token(t, w, authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "p", UID: pod.UID}})
	if s := review(bound); !s.Authenticated || len(s.User.Extra["authentication.kubernetes.io/pod-name"]) != 1 {
		t.Errorf("bound token: %+v", s)
	}
	if err := admin.CoreV1().Pods("default").Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := review(bound); s.Authenticated {
		t.Errorf("bound token after its pod: %+v", s)
	}
	short := int64(5)
	_, err = admin.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &short}}, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("a token of five seconds: %v", err)
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func TestReviews(t *testing.T) {
	w := begin(t, "", nil)
	account := as(t, w, token(t, w, authenticationv1.TokenRequestSpec{}))
	self, err := account.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || self.Status.UserInfo.Username != "system:serviceaccount:default:default" {
		t.Errorf("who am I: %+v, %v", self, err)
	}
	may, err := account.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods", Namespace: "default"}}}, metav1.CreateOptions{})
	if err != nil || may.Status.Allowed {
		t.Errorf("may I list pods: %+v, %v", may, err)
	}
	rules, err := account.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	if err != nil || len(rules.Status.ResourceRules) == 0 || len(rules.Status.NonResourceRules) == 0 {
		t.Errorf("what may I: %+v, %v", rules, err)
	}
	subject, err := w.client(t).AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "x", Groups: []string{"system:masters"}, ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods"}}}, metav1.CreateOptions{})
	if err != nil || !subject.Status.Allowed {
		t.Errorf("may masters: %+v, %v", subject, err)
	}
}

func TestAnonymous(t *testing.T) {
	w := begin(t, "", nil)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	ask := func(path, token string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(body)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/version"} {
		if code, body := ask(path, ""); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"/api", "/apis", "/openapi/v2", "/metrics", "/api/v1/namespaces", "/debug/pprof/", "/logs"} {
		if code, body := ask(path, ""); code != 403 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := ask("/healthz", "wrong"); code != 401 {
		t.Errorf("bad token: %d %s", code, body)
	}
}

func tokenSpec() authenticationv1.TokenRequestSpec { return authenticationv1.TokenRequestSpec{} }
