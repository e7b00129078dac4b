package project

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// functionFile is what is carried out of a func.yaml, as the func command writes it.
type functionFile struct {
	Name      string `yaml:"name"`
	Image     string `yaml:"image"`
	Namespace string `yaml:"namespace"`
	Run       struct {
		Envs []struct {
			Name  string `yaml:"name"`
			Value string `yaml:"value"`
		} `yaml:"envs"`
	} `yaml:"run"`
	Deploy struct {
		Image       string            `yaml:"image"`
		Namespace   string            `yaml:"namespace"`
		Annotations map[string]string `yaml:"annotations"`
		Labels      []struct {
			Key   string `yaml:"key"`
			Value string `yaml:"value"`
		} `yaml:"labels"`
		Options struct {
			Scale struct {
				Min         *int    `yaml:"min"`
				Max         *int    `yaml:"max"`
				Metric      string  `yaml:"metric"`
				Target      float64 `yaml:"target"`
				Utilization float64 `yaml:"utilization"`
			} `yaml:"scale"`
			Resources struct {
				Requests struct{ CPU, Memory string } `yaml:"requests"`
				Limits   struct {
					CPU, Memory string
					Concurrency *int64 `yaml:"concurrency"`
				} `yaml:"limits"`
			} `yaml:"resources"`
		} `yaml:"options"`
	} `yaml:"deploy"`
}

var functionKeys = keys{
	"specVersion": nil, "name": nil, "image": nil, "namespace": nil, "runtime": nil, "created": nil, "invoke": nil, "root": nil, "domain": nil,
	"run": {"envs": {"name": nil, "value": nil}},
	"deploy": {
		"image": nil, "namespace": nil, "annotations": nil, "labels": {"key": nil, "value": nil},
		"options": {
			"scale":     {"min": nil, "max": nil, "metric": nil, "target": nil, "utilization": nil},
			"resources": {"requests": {"cpu": nil, "memory": nil}, "limits": {"cpu": nil, "memory": nil, "concurrency": nil}},
		},
	},
}

// loadFunction makes a service of a function. The folder is built as any other, so it has to hold a whole program.
func loadFunction(file, namespace string) (*Project, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(file, data)
	if err != nil {
		return nil, err
	}
	var f functionFile
	if err := yaml.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	if f.Name == "" {
		f.Name = filepath.Base(dir)
	}
	name, err := workloadName(f.Name)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", file, doc.line("name"), err)
	}
	p := &Project{Name: name, File: file, Notes: doc.unsupported(functionKeys)}
	if ns := f.Deploy.Namespace; ns != "" && ns != namespace {
		p.Notes = append(p.Notes, Note{file, doc.line("deploy", "namespace"), fmt.Sprintf("deploy.namespace is %s; it runs in %s, which --namespace says", ns, namespace)})
	}
	container, err := f.container()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	service := p.newService(namespace, name, corev1.PodSpec{Containers: []corev1.Container{container}})
	for _, l := range f.Deploy.Labels {
		service.Labels[l.Key], service.Spec.Template.Labels[l.Key] = l.Value, l.Value
	}
	service.Spec.Template.Annotations = f.annotations()
	service.Spec.Template.Spec.ContainerConcurrency = f.Deploy.Options.Resources.Limits.Concurrency
	p.Workloads = []Workload{{Name: name, Source: &Source{Dir: dir}, Service: service}}
	return p, nil
}

func (f *functionFile) container() (corev1.Container, error) {
	var c corev1.Container
	for _, e := range f.Run.Envs {
		// func resolves {{ env:X }} on this machine, {{ secret:X }} and {{ configMap:X }} in the cluster.
		value := strings.TrimSpace(e.Value)
		if inner, isTemplate := strings.CutPrefix(value, "{{"); isTemplate {
			inner = strings.TrimSpace(strings.TrimSuffix(inner, "}}"))
			variable, isEnv := strings.CutPrefix(inner, "env:")
			if !isEnv {
				return c, fmt.Errorf("run.envs: %s of %s is not supported: only {{ env:NAME }} is", value, e.Name)
			}
			value = os.Getenv(strings.TrimSpace(variable))
		}
		c.Env = append(c.Env, corev1.EnvVar{Name: e.Name, Value: value})
	}
	for _, part := range []struct {
		list *corev1.ResourceList
		cpu  string
		mem  string
	}{
		{&c.Resources.Requests, f.Deploy.Options.Resources.Requests.CPU, f.Deploy.Options.Resources.Requests.Memory},
		{&c.Resources.Limits, f.Deploy.Options.Resources.Limits.CPU, f.Deploy.Options.Resources.Limits.Memory},
	} {
		for kind, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: part.cpu, corev1.ResourceMemory: part.mem} {
			if text == "" {
				continue
			}
			quantity, err := resource.ParseQuantity(text)
			if err != nil {
				return c, fmt.Errorf("deploy.options.resources: %s %q: %w", kind, text, err)
			}
			if *part.list == nil {
				*part.list = corev1.ResourceList{}
			}
			(*part.list)[kind] = quantity
		}
	}
	return c, nil
}

func (f *functionFile) annotations() map[string]string {
	scale := f.Deploy.Options.Scale
	a := map[string]string{}
	for key, value := range f.Deploy.Annotations {
		a[key] = value
	}
	if scale.Min != nil {
		a[autoscaling.MinScaleAnnotationKey] = strconv.Itoa(*scale.Min)
	}
	if scale.Max != nil {
		a[autoscaling.MaxScaleAnnotationKey] = strconv.Itoa(*scale.Max)
	}
	if scale.Metric != "" {
		a[autoscaling.MetricAnnotationKey] = scale.Metric
	}
	if scale.Target > 0 {
		a[autoscaling.TargetAnnotationKey] = strconv.FormatFloat(scale.Target, 'f', -1, 64)
	}
	if scale.Utilization > 0 {
		a[autoscaling.TargetUtilizationPercentageKey] = strconv.FormatFloat(scale.Utilization, 'f', -1, 64)
	}
	if len(a) == 0 {
		return nil
	}
	return a
}
