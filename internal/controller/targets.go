package controller

import (
	"context"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"
)

// targetConfigurations and targetRevisions find the targets of traffic. The API is asked for one that the informer does not have: of two objects made
// one after the other the informers may know the second first, and a route would say that its target is missing, which ends the waiting of clients.
type targetConfigurations struct {
	servinglisters.ConfigurationLister
	client servingclient.Interface
	ctx    context.Context // of the reconciliation: the interface has no place for it
}

func (l targetConfigurations) Configurations(namespace string) servinglisters.ConfigurationNamespaceLister {
	return targetConfigurationsIn{l.ConfigurationLister.Configurations(namespace), func(name string) (*v1.Configuration, error) {
		return l.client.ServingV1().Configurations(namespace).Get(l.ctx, name, metav1.GetOptions{})
	}}
}

type targetConfigurationsIn struct {
	servinglisters.ConfigurationNamespaceLister
	ask func(string) (*v1.Configuration, error)
}

func (l targetConfigurationsIn) Get(name string) (*v1.Configuration, error) {
	return known(name, l.ConfigurationNamespaceLister.Get, l.ask)
}

type targetRevisions struct {
	servinglisters.RevisionLister
	client servingclient.Interface
	ctx    context.Context // as above
}

func (l targetRevisions) Revisions(namespace string) servinglisters.RevisionNamespaceLister {
	return targetRevisionsIn{l.RevisionLister.Revisions(namespace), func(name string) (*v1.Revision, error) {
		return l.client.ServingV1().Revisions(namespace).Get(l.ctx, name, metav1.GetOptions{})
	}}
}

type targetRevisionsIn struct {
	servinglisters.RevisionNamespaceLister
	ask func(string) (*v1.Revision, error)
}

func (l targetRevisionsIn) Get(name string) (*v1.Revision, error) {
	return known(name, l.RevisionNamespaceLister.Get, l.ask)
}

func known[T any](name string, informer, ask func(string) (T, error)) (T, error) {
	obj, err := informer(name)
	if apierrs.IsNotFound(err) {
		return ask(name)
	}
	return obj, err
}
