package controller

import (
	"errors"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/apis/serving/v1beta1"
)

// handleEvents says which name goes to which queue when an object changes. Nothing of the event but names is used.
func (c *Controller) handleEvents() error {
	c.newRecorder()
	i := c.informers
	return errors.Join(
		i.index(),
		onChange(i.services, c.onService),
		onChange(i.configurations, c.onConfiguration),
		onChange(i.routes, c.onRoute),
		onChange(i.revisions, func(k key, _ any) { c.revisionQueue.add(k) }),
		onDifference(i.revisions, differsForOwners, c.onRevision),
		onDifference(i.revisions, func(a, b *v1.Revision) bool { return makeBackend(a) != makeBackend(b) }, c.onBackend),
		onChange(i.mappings, func(k key, _ any) { c.mappingQueue.add(k) }),
		onChange(i.ingresses, c.onIngress),
		onChange(i.claims, func(k key, _ any) { c.mappingsNamed(k.Name) }),
		onChange(i.coreServices, c.onCoreService),
		onChange(i.configMaps, c.onConfigMap),
		onChange(i.secrets, c.onSecret),
		onChange(i.pods, c.onPod),
		onChange(i.volumeClaims, func(k key, _ any) { c.claimQueue.add(k); c.onData(k) }),
		onChange(i.deployments, c.onView), onChange(i.autoscalers, c.onView),
		onChange(i.endpoints, c.onView), onChange(i.slices, c.onView), onChange(i.serverless, c.onView),
	)
}

func (c *Controller) onService(k key, obj any) {
	m, ok := obj.(*v1.Service)
	if ok && isNew(m) {
		c.newcomerQueue.add(k)
	} else {
		c.serviceQueue.add(k)
	}
	c.mappingsOf(k)
	if ok {
		c.onPublisher(ownerKind(true), k, m.Annotations)
	}
}

func (c *Controller) onConfiguration(k key, obj any) {
	c.configurationQueue.add(k)
	m, ok := obj.(*v1.Configuration)
	if !ok {
		return
	}
	c.serviceQueue.addOwner(k, ownerName(m, "Service"))
	c.routesTo(k.Namespace, "configuration/"+k.Name)
	for _, route := range listAnnotation(m.Annotations, serving.RoutesAnnotationKey) {
		c.routeQueue.addName(k.Namespace, route)
	}
}

func (c *Controller) onRoute(k key, obj any) {
	c.routeQueue.add(k)
	if m, ok := obj.(*v1.Route); ok {
		c.serviceQueue.addOwner(k, ownerName(m, "Service"))
	}
	c.mappingsOf(k)
}

// onRevision queues what is made of a revision's state: its configuration, and the routes that use it.
func (c *Controller) onRevision(k key, m *v1.Revision) {
	configuration := m.Labels[serving.ConfigurationLabelKey]
	c.configurationQueue.addOwner(k, configuration)
	c.routesTo(k.Namespace, "revision/"+k.Name)
	if configuration != "" {
		c.routesTo(k.Namespace, "configuration/"+configuration)
	}
	for _, route := range listAnnotation(m.Annotations, serving.RoutesAnnotationKey) {
		c.routeQueue.addName(k.Namespace, route)
	}
}

// differsForOwners tells whether a change of a revision concerns its configuration or a route. How many instances it has, and whether it is
// active, changes with each wake and does not.
func differsForOwners(before, after *v1.Revision) bool {
	was, is := before.Status.GetCondition(v1.RevisionConditionReady), after.Status.GetCondition(v1.RevisionConditionReady)
	if (was == nil) != (is == nil) {
		return true
	}
	if was != nil && (was.Status != is.Status || was.Reason != is.Reason || was.Message != is.Message) {
		return true
	}
	return before.UID != after.UID || before.Generation != after.Generation || before.Status.ObservedGeneration != after.Status.ObservedGeneration ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		!maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations)
}

// onBackend queues the Ingresses that send traffic to a revision of which the gateway knows something else now.
func (c *Controller) onBackend(k key, _ *v1.Revision) {
	found, err := indexed[*netv1alpha1.Ingress](c.informers.ingresses, byRevision, k.Namespace, k.Name)
	if err != nil {
		return
	}
	for _, ing := range found {
		c.tableQueue.add(nameOf(ing))
	}
}

func (c *Controller) onIngress(k key, obj any) {
	c.tableQueue.add(k)
	m, ok := obj.(*netv1alpha1.Ingress)
	if !ok {
		return
	}
	c.routeQueue.addOwner(k, ownerName(m, "Route"))
	c.mappingQueue.addOwner(k, ownerName(m, "DomainMapping"))
}

func (c *Controller) onCoreService(k key, obj any) {
	if m, ok := obj.(*corev1.Service); ok {
		c.routeQueue.addOwner(k, ownerName(m, "Route"))
		c.onView(k, obj)
		c.onPublisher(ownerKind(false), k, m.Annotations)
	}
	c.mappingsOf(k)
}

// onView has the views of a revision looked at again when one of them changed.
func (c *Controller) onView(k key, obj any) {
	if m, ok := obj.(metav1.Object); ok {
		c.viewQueue.addOwner(k, m.GetLabels()[serving.RevisionLabelKey])
	}
}

func (c *Controller) onConfigMap(k key, _ any) {
	if k.Namespace == systemNamespace {
		c.settingsQueue.add(k)
	}
	c.onData(k)
}

func (c *Controller) onSecret(k key, obj any) {
	if m, ok := obj.(*corev1.Secret); ok && m.Type == corev1.SecretTypeTLS {
		c.tableQueue.add(tableKey)
	}
	c.onData(k)
}

// onData looks again at what refers to a ConfigMap, Secret or claim: new instances get the new values, and the files of those
// that run are replaced.
func (c *Controller) onData(k key) {
	revisions, err := indexed[*v1.Revision](c.informers.revisions, byData, k.Namespace, k.Name)
	if err != nil {
		return
	}
	for _, rev := range revisions {
		c.revisionQueue.addName(rev.Namespace, rev.Name)
	}
	c.boxes.refreshNamed(k)
	c.pods.dataChanged(k)
}

// routesTo queues the routes that name a target.
func (c *Controller) routesTo(namespace, target string) {
	found, err := c.informers.routes.GetIndexer().ByIndex(byTarget, indexKey(namespace, target))
	if err != nil {
		return
	}
	for _, obj := range found {
		if m, ok := obj.(*v1.Route); ok {
			c.routeQueue.addName(m.Namespace, m.Name)
		}
	}
}

// mappingsOf queues the domain mappings that point at an object of this name.
func (c *Controller) mappingsOf(k key) {
	all, err := indexed[*v1beta1.DomainMapping](c.informers.mappings, byTarget, k.Namespace, k.Name)
	if err != nil {
		return
	}
	for _, m := range all {
		c.mappingQueue.addName(m.Namespace, m.Name)
	}
}

// mappingsNamed queues the domain mappings of a domain in every namespace.
func (c *Controller) mappingsNamed(domain string) {
	all, err := c.listers.mappings.List(labels.Everything())
	if err != nil {
		return
	}
	for _, m := range all {
		if m.Name == domain {
			c.mappingQueue.addName(m.Namespace, m.Name)
		}
	}
}

// resync looks at everything again, after a change of the settings.
func (c *Controller) resync() {
	for q, informer := range map[*queue]interface{ ListKeys() []string }{
		c.serviceQueue: c.informers.services.GetStore(), c.configurationQueue: c.informers.configurations.GetStore(),
		c.routeQueue: c.informers.routes.GetStore(), c.revisionQueue: c.informers.revisions.GetStore(),
		c.mappingQueue: c.informers.mappings.GetStore(),
	} {
		for _, k := range informer.ListKeys() {
			q.add(splitKey(k))
		}
	}
	c.tableQueue.add(tableKey)
}

func splitKey(k string) key {
	for i := range k {
		if k[i] == '/' {
			return key{Namespace: k[:i], Name: k[i+1:]}
		}
	}
	return key{Name: k}
}

// ownerName is the name of the controlling owner, where it is of this kind.
func ownerName(obj metav1.Object, kind string) string {
	if owner := metav1.GetControllerOf(obj); owner != nil && owner.Kind == kind {
		return owner.Name
	}
	return ""
}
