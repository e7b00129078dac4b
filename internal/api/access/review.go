package access

import (
	"context"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// review is a resource that is only created, to be answered.
type review[T runtime.Object] struct {
	make       func() T
	singular   string
	namespaced bool
	answer     func(ctx context.Context, asked T) error
}

var _ rest.Creater = (*review[*authenticationv1.TokenReview])(nil)

func (r *review[T]) New() runtime.Object     { return r.make() }
func (r *review[T]) Destroy()                {}
func (r *review[T]) NamespaceScoped() bool   { return r.namespaced }
func (r *review[T]) GetSingularName() string { return r.singular }

// Create answers the question that object is.
func (r *review[T]) Create(ctx context.Context, object runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	asked, ok := object.(T)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a %s: %T", r.singular, object))
	}
	if validate != nil {
		if err := validate(ctx, object.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := r.answer(ctx, asked); err != nil {
		return nil, err
	}
	return asked, nil
}

// Reviews are the resources by which clients ask who they are and what they may do, by group and version.
func Reviews(who authenticator.Request, may authorizer.Authorizer, rules authorizer.RuleResolver) map[schema.GroupVersion]map[string]rest.Storage {
	return map[schema.GroupVersion]map[string]rest.Storage{
		authenticationv1.SchemeGroupVersion: {
			"tokenreviews": &review[*authenticationv1.TokenReview]{make: func() *authenticationv1.TokenReview { return &authenticationv1.TokenReview{} }, singular: "tokenreview",
				answer: func(ctx context.Context, r *authenticationv1.TokenReview) error { return reviewToken(ctx, r, who) }},
			"selfsubjectreviews": &review[*authenticationv1.SelfSubjectReview]{make: func() *authenticationv1.SelfSubjectReview { return &authenticationv1.SelfSubjectReview{} }, singular: "selfsubjectreview",
				answer: reviewSelf},
		},
		authorizationv1.SchemeGroupVersion: {
			"subjectaccessreviews": &review[*authorizationv1.SubjectAccessReview]{make: func() *authorizationv1.SubjectAccessReview { return &authorizationv1.SubjectAccessReview{} }, singular: "subjectaccessreview",
				answer: func(ctx context.Context, r *authorizationv1.SubjectAccessReview) error {
					return reviewAccess(ctx, &r.Spec, &r.Status, may)
				}},
			"localsubjectaccessreviews": &review[*authorizationv1.LocalSubjectAccessReview]{make: func() *authorizationv1.LocalSubjectAccessReview { return &authorizationv1.LocalSubjectAccessReview{} }, singular: "localsubjectaccessreview",
				namespaced: true, answer: func(ctx context.Context, r *authorizationv1.LocalSubjectAccessReview) error {
					return reviewLocalAccess(ctx, r, may)
				}},
			"selfsubjectaccessreviews": &review[*authorizationv1.SelfSubjectAccessReview]{make: func() *authorizationv1.SelfSubjectAccessReview { return &authorizationv1.SelfSubjectAccessReview{} }, singular: "selfsubjectaccessreview",
				answer: func(ctx context.Context, r *authorizationv1.SelfSubjectAccessReview) error {
					return reviewOwnAccess(ctx, r, may)
				}},
			"selfsubjectrulesreviews": &review[*authorizationv1.SelfSubjectRulesReview]{make: func() *authorizationv1.SelfSubjectRulesReview { return &authorizationv1.SelfSubjectRulesReview{} }, singular: "selfsubjectrulesreview",
				answer: func(ctx context.Context, r *authorizationv1.SelfSubjectRulesReview) error {
					return reviewRules(ctx, r, rules)
				}},
		},
	}
}

func reviewToken(ctx context.Context, r *authenticationv1.TokenReview, who authenticator.Request) error {
	if r.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	asked, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	asked.Header.Set("Authorization", "Bearer "+r.Spec.Token)
	audiences := Audiences()
	if len(r.Spec.Audiences) > 0 {
		audiences = r.Spec.Audiences
	}
	asked = asked.WithContext(authenticator.WithAudiences(asked.Context(), audiences))
	found, ok, err := who.AuthenticateRequest(asked)
	r.Status = authenticationv1.TokenReviewStatus{Authenticated: ok && found.User.GetName() != user.Anonymous}
	if err != nil {
		r.Status.Authenticated, r.Status.Error = false, err.Error()
	}
	if r.Status.Authenticated {
		r.Status.User = userInfo(found.User)
		r.Status.Audiences = found.Audiences
		if len(found.Audiences) == 0 {
			r.Status.Audiences = Audiences()
		}
	}
	return nil
}

func reviewSelf(ctx context.Context, r *authenticationv1.SelfSubjectReview) error {
	who, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewUnauthorized("no user found for request")
	}
	r.Status.UserInfo = userInfo(who)
	return nil
}

func userInfo(who user.Info) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups()}
	for k, v := range who.GetExtra() {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[k] = v
	}
	return info
}

func reviewAccess(ctx context.Context, spec *authorizationv1.SubjectAccessReviewSpec, status *authorizationv1.SubjectAccessReviewStatus, may authorizer.Authorizer) error {
	if (spec.ResourceAttributes == nil) == (spec.NonResourceAttributes == nil) {
		return apierrors.NewBadRequest("exactly one of nonResourceAttributes or resourceAttributes must be specified")
	}
	if spec.User == "" && len(spec.Groups) == 0 {
		return apierrors.NewBadRequest("at least one of user or group must be specified")
	}
	who := &user.DefaultInfo{Name: spec.User, Groups: spec.Groups, UID: spec.UID, Extra: map[string][]string{}}
	for k, v := range spec.Extra {
		who.Extra[k] = v
	}
	decision, reason, err := may.Authorize(ctx, attributes(who, spec.ResourceAttributes, spec.NonResourceAttributes))
	*status = authorizationv1.SubjectAccessReviewStatus{Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return nil
}

func reviewLocalAccess(ctx context.Context, r *authorizationv1.LocalSubjectAccessReview, may authorizer.Authorizer) error {
	namespace := request.NamespaceValue(ctx)
	if r.Spec.ResourceAttributes == nil || r.Spec.ResourceAttributes.Namespace != namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %s", namespace))
	}
	return reviewAccess(ctx, &r.Spec, &r.Status, may)
}

func reviewOwnAccess(ctx context.Context, r *authorizationv1.SelfSubjectAccessReview, may authorizer.Authorizer) error {
	who, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewUnauthorized("no user found for request")
	}
	spec := authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: r.Spec.ResourceAttributes, NonResourceAttributes: r.Spec.NonResourceAttributes, User: who.GetName(), Groups: who.GetGroups(), UID: who.GetUID()}
	return reviewAccess(ctx, &spec, &r.Status, may)
}

func attributes(who user.Info, resource *authorizationv1.ResourceAttributes, other *authorizationv1.NonResourceAttributes) authorizer.Attributes {
	if resource == nil {
		return authorizer.AttributesRecord{User: who, Verb: other.Verb, Path: other.Path}
	}
	return authorizer.AttributesRecord{User: who, Verb: resource.Verb, Namespace: resource.Namespace, APIGroup: resource.Group, APIVersion: resource.Version,
		Resource: resource.Resource, Subresource: resource.Subresource, Name: resource.Name, ResourceRequest: true}
}

func reviewRules(ctx context.Context, r *authorizationv1.SelfSubjectRulesReview, rules authorizer.RuleResolver) error {
	who, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewUnauthorized("no user found for request")
	}
	if r.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	resources, paths, incomplete, err := rules.RulesFor(ctx, who, r.Spec.Namespace)
	r.Status = authorizationv1.SubjectRulesReviewStatus{Incomplete: incomplete, ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	for _, rule := range resources {
		r.Status.ResourceRules = append(r.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames()})
	}
	for _, rule := range paths {
		r.Status.NonResourceRules = append(r.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()})
	}
	if err != nil {
		r.Status.EvaluationError = err.Error()
	}
	return nil
}
