package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

// routed is what a route makes use of, by name.
type routed struct{ revisions, configurations map[string]bool }

// labelRoute writes on revisions and configurations which routes use them; the routing state of a revision (active
// or reserve) follows from it. What is no longer used is unmarked only once the route is settled.
func (c *Controller) labelRoute(ctx context.Context, route *v1.Route) error {
	use := c.routed(route)
	if route.IsReady() || route.IsFailed() {
		if err := c.markRouted(ctx, key{Namespace: route.Namespace, Name: route.Name}, use, true); err != nil {
			return err
		}
	}
	return c.markRouted(ctx, key{Namespace: route.Namespace, Name: route.Name}, use, false)
}

// unlabelRoute takes a route that is gone off everything. One that belongs to a service is not here yet, or made again: what the service makes
// names its route from the start.
func (c *Controller) unlabelRoute(ctx context.Context, route key) error {
	if service, err := c.listers.services.Services(route.Namespace).Get(route.Name); err == nil && service.DeletionTimestamp == nil {
		return nil
	}
	return c.markRouted(ctx, route, routed{}, true)
}

func (c *Controller) routed(route *v1.Route) routed {
	use := routed{revisions: map[string]bool{}, configurations: map[string]bool{}}
	for _, target := range slices.Concat(route.Status.Traffic, route.Spec.Traffic) {
		configuration := target.ConfigurationName
		if target.RevisionName != "" {
			rev, err := c.listers.revisions.Revisions(route.Namespace).Get(target.RevisionName)
			if err != nil {
				continue
			}
			use.revisions[rev.Name] = true
			if owner := metav1.GetControllerOf(rev); owner != nil && owner.Kind == "Configuration" {
				configuration = owner.Name
			}
		}
		if configuration == "" {
			continue
		}
		config, err := c.listers.configurations.Configurations(route.Namespace).Get(configuration)
		if err != nil {
			continue
		}
		use.configurations[configuration] = true
		if target.LatestRevision == nil || !*target.LatestRevision {
			continue
		}
		if latest := config.Status.LatestCreatedRevisionName; latest != "" {
			use.revisions[latest] = true
		}
		c.addNewest(config, use.revisions)
	}
	return use
}

// addNewest adds what the configuration has just made: traffic will move there, and the configuration's status may not say so yet.
func (c *Controller) addNewest(config *v1.Configuration, revisions map[string]bool) {
	list, err := indexed[*v1.Revision](c.informers.revisions, byConfiguration, config.Namespace, config.Name)
	if err != nil {
		return
	}
	generation := strconv.FormatInt(config.Generation, 10)
	for _, rev := range list {
		if rev.Labels[serving.ConfigurationGenerationLabelKey] == generation {
			revisions[rev.Name] = true
		}
	}
}

// markRouted marks what is in use and not marked (remove false), or unmarks what is marked and not in use.
func (c *Controller) markRouted(ctx context.Context, route key, use routed, remove bool) error {
	marked := indexKey(route.Namespace, route.Name)
	revisions, err := c.informers.revisions.GetIndexer().ByIndex(byRoute, marked)
	if err != nil {
		return err
	}
	for name := range candidates(revisions, use.revisions, remove) {
		rev, err := c.listers.revisions.Revisions(route.Namespace).Get(name)
		if err != nil {
			continue
		}
		patch := c.routingPatch(rev, route.Name, remove, true)
		if patch == nil {
			continue
		}
		_, err = c.serving.ServingV1().Revisions(route.Namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		if ignoreGone(err) != nil {
			return fmt.Errorf("marking revision %q with its routes: %w", name, err)
		}
	}
	configurations, err := c.informers.configurations.GetIndexer().ByIndex(byRoute, marked)
	if err != nil {
		return err
	}
	for name := range candidates(configurations, use.configurations, remove) {
		config, err := c.listers.configurations.Configurations(route.Namespace).Get(name)
		if err != nil {
			continue
		}
		patch := c.routingPatch(config, route.Name, remove, false)
		if patch == nil {
			continue
		}
		_, err = c.serving.ServingV1().Configurations(route.Namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		if ignoreGone(err) != nil {
			return fmt.Errorf("marking configuration %q with its routes: %w", name, err)
		}
	}
	return nil
}

func candidates(marked []any, used map[string]bool, remove bool) map[string]bool {
	if !remove {
		return used
	}
	stale := map[string]bool{}
	for _, obj := range marked {
		if m, ok := obj.(metav1.Object); ok && !used[m.GetName()] {
			stale[m.GetName()] = true
		}
	}
	return stale
}

// routingPatch is the merge patch that makes the marks right, or nil where they are.
func (c *Controller) routingPatch(obj metav1.Object, route string, remove, state bool) []byte {
	marks, annotations := map[string]any{}, map[string]any{}
	routes := listAnnotation(obj.GetAnnotations(), serving.RoutesAnnotationKey)
	has := slices.Contains(routes, route)
	if has && remove {
		routes = slices.DeleteFunc(routes, func(r string) bool { return r == route })
	} else if !has && !remove {
		routes = append(routes, route)
		slices.Sort(routes)
	}
	if has == remove {
		annotations[serving.RoutesAnnotationKey] = strings.Join(routes, ",")
		if len(routes) == 0 {
			annotations[serving.RoutesAnnotationKey] = nil
		}
	}
	want := string(v1.RoutingStateReserve)
	if len(routes) > 0 {
		want = string(v1.RoutingStateActive)
	}
	if state && obj.GetLabels()[serving.RoutingStateLabelKey] != want {
		marks[serving.RoutingStateLabelKey] = want
		annotations[serving.RoutingStateModifiedAnnotationKey] = v1.RoutingStateModifiedString(c.now())
	}
	if len(marks)+len(annotations) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": marks, "annotations": annotations}})
	if err != nil {
		panic("controller: a map of strings does not marshal: " + err.Error())
	}
	return patch
}
