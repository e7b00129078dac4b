package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

const systemNamespace = "knative-serving"

// baseSettings are those with which upstream runs its own suites (test/config/ytt/core there), less what only its own
// implementation reads.
func baseSettings() []setting {
	return []setting{
		{"config-network", "autocreate-cluster-domain-claims", "true"},
		{"config-deployment", "progress-deadline", "120s"},
	}
}

// cluster is the API of the daemon or of any other Knative.
type cluster struct {
	config  *rest.Config
	kube    kubernetes.Interface
	dynamic dynamic.Interface
	mapper  meta.RESTMapper
}

func connect(kubeconfig string) (*cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))
	return &cluster{config: config, kube: kube, dynamic: objects, mapper: mapper}, nil
}

// registry asks a Fairlead where its image registry listens.
func (c *cluster) registry(ctx context.Context) (string, error) {
	info, err := c.kube.CoreV1().ConfigMaps("fairlead-system").Get(ctx, "fairlead-info", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("ask where the registry listens: %w", err)
	}
	if info.Data["registry"] == "" {
		return "", errors.New("the daemon names no registry in ConfigMap fairlead-system/fairlead-info")
	}
	return info.Data["registry"], nil
}

// createTestObjects creates the namespaces and objects that the suites expect, from the files of the upstream module.
// Namespaces come first.
func (c *cluster) createTestObjects(ctx context.Context, upstreamTest string) error {
	var namespaces, others []*unstructured.Unstructured
	for _, file := range []string{"cluster-resources.yaml", "test-resources.yaml", "pvc/pvc.yaml", "resource-quota/resource-quota.yaml"} {
		objects, err := readObjects(filepath.Join(upstreamTest, "config", file))
		if err != nil {
			return err
		}
		for _, o := range objects {
			if o.GetKind() == "Namespace" {
				namespaces = append(namespaces, o)
			} else {
				others = append(others, o)
			}
		}
	}
	for _, o := range append(namespaces, others...) {
		if err := c.create(ctx, o); err != nil {
			return fmt.Errorf("create %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

func (c *cluster) create(ctx context.Context, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		fmt.Fprintf(os.Stderr, "conformance: the API has no kind %s; tests that need it will fail\n", kind.Kind)
		return nil
	}
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = c.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		resource = c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	_, err = resource.Create(ctx, o, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func readObjects(file string) ([]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// apply sets values in ConfigMaps and gives back what restore needs to undo it.
func (c *cluster) apply(ctx context.Context, settings []setting) ([]setting, error) {
	var undo []setting
	for _, s := range settings {
		before, err := c.kube.CoreV1().ConfigMaps(systemNamespace).Get(ctx, s.configMap, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("read ConfigMap %s: %w", s.configMap, err)
		}
		undo = append(undo, setting{s.configMap, s.key, before.Data[s.key]})
	}
	return undo, c.set(ctx, settings)
}

// restore undoes apply; a key that was not there is removed.
func (c *cluster) restore(ctx context.Context, settings []setting) error {
	return c.set(ctx, settings)
}

// set writes all values of a ConfigMap at once, as they are checked together. An empty one removes the key.
func (c *cluster) set(ctx context.Context, settings []setting) error {
	values := map[string]map[string]any{}
	for _, s := range settings {
		if values[s.configMap] == nil {
			values[s.configMap] = map[string]any{}
		}
		values[s.configMap][s.key] = nil
		if s.value != "" {
			values[s.configMap][s.key] = s.value
		}
	}
	for name, data := range values {
		patch, err := json.Marshal(map[string]any{"data": data})
		if err != nil {
			return err
		}
		_, err = c.kube.CoreV1().ConfigMaps(systemNamespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			return fmt.Errorf("change ConfigMap %s: %w", name, err)
		}
	}
	return nil
}

// requestLogging is what upstream's test configuration has in config-observability; its tests compare the template.
func requestLogging(upstreamTest string) ([]setting, error) {
	objects, err := readObjects(filepath.Join(upstreamTest, "config", "ytt", "core", "overlay-config-observability.yaml"))
	if err != nil {
		return nil, err
	}
	var settings []setting
	for _, o := range objects {
		data, _, err := unstructured.NestedStringMap(o.Object, "data")
		if err != nil {
			return nil, err
		}
		for key, value := range data {
			if strings.HasPrefix(key, "logging.") {
				settings = append(settings, setting{"config-observability", key, value})
			}
		}
	}
	return settings, nil
}
