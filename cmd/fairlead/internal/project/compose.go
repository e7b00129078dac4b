package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// kindExtension is the key by which a service of a Compose file says itself what it is: "service" or "instance".
const kindExtension = "x-fairlead-kind"

// composer turns one Compose file into a project.
type composer struct {
	*Project
	namespace string
	from      *types.Project
	document  *document
	taken     []Port // published so far
	loopback  bool   // it was said that ports are opened on the loopback interface
}

func loadCompose(ctx context.Context, file, namespace string) (*Project, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithOsEnv, cli.WithWorkingDirectory(filepath.Dir(file)),
		cli.WithEnvFiles(), cli.WithDotEnv, cli.WithConfigFileEnv, cli.WithDefaultProfiles())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	from, err := options.LoadProject(ctx)
	if err != nil {
		return nil, cmp.Or(unknownKey(file, err), fmt.Errorf("%s: %w", file, err))
	}
	doc, err := readDocument(file)
	if err != nil {
		return nil, err
	}
	c := &composer{Project: &Project{Name: from.Name, File: file}, namespace: namespace, from: from, document: doc}
	c.Notes = doc.unsupported(composeKeys)
	order, err := c.order()
	if err != nil {
		return nil, err
	}
	for _, name := range order {
		w, err := c.workload(from.Services[name])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: services.%s: %w", file, doc.line("services", name), name, err)
		}
		c.Workloads = append(c.Workloads, *w)
	}
	return c.Project, nil
}

var falseSchema = regexp.MustCompile(`: (\S+) false schema$`)

// unknownKey says where a key is that no Compose file has, of which the library says "false schema"; nil if err is about something else.
func unknownKey(file string, err error) error {
	found := falseSchema.FindStringSubmatch(err.Error())
	if found == nil {
		return nil
	}
	doc, err := readDocument(file)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s:%d: %s is not a key of Compose files", file, doc.line(strings.Split(found[1], ".")...), found[1])
}

// note says something about a place below a service.
func (c *composer) note(service string, path []string, format string, args ...any) {
	at := append([]string{"services", service}, path...)
	c.Notes = append(c.Notes, Note{c.document.file, c.document.line(at...), strings.Join(at, ".") + " " + fmt.Sprintf(format, args...)})
}

// order puts every service behind those it depends on, by name where that leaves a choice.
func (c *composer) order() ([]string, error) {
	var order []string
	state := map[string]int{} // 1 while a service is being looked at, 2 when it is in the order
	var visit func(name string) error
	visit = func(name string) error {
		switch state[name] {
		case 1:
			return fmt.Errorf("%s:%d: services.%s depends on itself", c.File, c.document.line("services", name), name)
		case 2:
			return nil
		}
		state[name] = 1
		for _, dependency := range slices.Sorted(maps.Keys(c.from.Services[name].DependsOn)) {
			if _, exists := c.from.Services[dependency]; exists {
				if err := visit(dependency); err != nil {
					return err
				}
			}
		}
		state[name] = 2
		order = append(order, name)
		return nil
	}
	for _, name := range c.from.ServiceNames() {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

func (c *composer) workload(s types.ServiceConfig) (*Workload, error) {
	name, err := workloadName(s.Name)
	if err != nil {
		return nil, err
	}
	if name != s.Name {
		c.note(s.Name, nil, "is called %s here, and others reach it by that name", name)
	}
	w := &Workload{Name: name, Source: c.source(s)}
	if w.Source == nil && s.Image == "" {
		return nil, errors.New("it has neither image nor build")
	}
	port, http, err := c.kind(s)
	if err != nil {
		return nil, err
	}
	container := corev1.Container{
		Image: s.Image, Command: s.Entrypoint, Args: s.Command, WorkingDir: s.WorkingDir, Env: c.environment(s, port, http),
	}
	if w.Source != nil {
		container.Image = ""
	}
	if container.Resources, err = resources(s); err != nil {
		return nil, err
	}
	if container.SecurityContext, err = securityContext(s); err != nil {
		return nil, err
	}
	container.ReadinessProbe = probe(s.HealthCheck)
	pod := corev1.PodSpec{}
	if err := c.volumes(w, s, &pod, &container, http); err != nil {
		return nil, err
	}
	w.After = c.after(s)
	if http {
		c.finishService(w, s, pod, container, port)
	} else {
		c.finishPod(w, s, pod, container)
	}
	ports, err := c.published(s, http, port)
	if err != nil {
		return nil, err
	}
	w.SetPublished(ports)
	return w, nil
}

func (c *composer) finishService(w *Workload, s types.ServiceConfig, pod corev1.PodSpec, container corev1.Container, port int32) {
	if port != 0 {
		container.Ports = []corev1.ContainerPort{{ContainerPort: port}}
	}
	pod.Containers = []corev1.Container{container}
	w.Service = c.newService(c.namespace, w.Name, pod)
	if n := replicas(s); n != nil {
		w.Service.Spec.Template.Annotations = map[string]string{
			autoscaling.MinScaleAnnotationKey: strconv.Itoa(*n), autoscaling.MaxScaleAnnotationKey: strconv.Itoa(max(*n, 1)),
		}
	}
}

func (c *composer) finishPod(w *Workload, s types.ServiceConfig, pod corev1.PodSpec, container corev1.Container) {
	container.Name = "user-container"
	ports := tcpPorts(s)
	for _, port := range ports {
		container.Ports = append(container.Ports, corev1.ContainerPort{ContainerPort: port})
	}
	pod.Containers = []corev1.Container{container}
	pod.RestartPolicy = c.restartPolicy(s)
	if s.StopGracePeriod != nil {
		seconds := int64(time.Duration(*s.StopGracePeriod).Seconds())
		pod.TerminationGracePeriodSeconds = &seconds
	}
	w.Pod = c.newPod(c.namespace, w.Name, pod)
	w.Support = append(w.Support, c.nameService(c.namespace, w.Name, ports))
	if n := replicas(s); n != nil && *n != 1 {
		c.note(s.Name, nil, "runs as one always-on instance, not as %d", *n)
	}
}

// restartPolicy is Always, because an instance behind a Compose file is always on, unless another service waits for
// this one to end, or it says on-failure.
func (c *composer) restartPolicy(s types.ServiceConfig) corev1.RestartPolicy {
	if s.Restart == types.RestartPolicyOnFailure {
		return corev1.RestartPolicyOnFailure
	}
	for _, other := range c.from.Services {
		if d, depends := other.DependsOn[s.Name]; depends && d.Condition == types.ServiceConditionCompletedSuccessfully {
			return corev1.RestartPolicyNever
		}
	}
	return corev1.RestartPolicyAlways
}

func (c *composer) after(s types.ServiceConfig) []Dependency {
	var after []Dependency
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		if _, exists := c.from.Services[name]; !exists {
			continue // it is of a profile that is not on
		}
		d := Dependency{Name: workloadNameOr(name)}
		switch s.DependsOn[name].Condition {
		case types.ServiceConditionHealthy:
			d.Until = Ready
		case types.ServiceConditionCompletedSuccessfully:
			d.Until = Done
		}
		after = append(after, d)
	}
	return after
}

func (c *composer) source(s types.ServiceConfig) *Source {
	if s.Build == nil {
		return nil
	}
	source := &Source{Dir: s.Build.Context, Target: s.Build.Target}
	for _, name := range slices.Sorted(maps.Keys(s.Build.Args)) {
		if value := s.Build.Args[name]; value != nil {
			source.Args = append(source.Args, name+"="+*value)
		}
	}
	// A Dockerfile that is named, or said how to use, is meant. The loader names the default one always.
	named := c.document.line("services", s.Name, "build", "dockerfile") != c.document.line("services", s.Name, "build")
	if named {
		source.Dockerfile = s.Build.Dockerfile
	}
	if named || source.Target != "" || source.Args != nil {
		source.Builder = "dockerfile"
	}
	return source
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// workloadName makes a name that the API accepts.
func workloadName(name string) (string, error) {
	made := strings.Trim(notInName.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if problems := validation.IsDNS1035Label(made); len(problems) > 0 {
		return "", fmt.Errorf("%q cannot be a name: %s", name, problems[0])
	}
	return made, nil
}

// workloadNameOr is workloadName for a name that is checked elsewhere.
func workloadNameOr(name string) string {
	if made, err := workloadName(name); err == nil {
		return made
	}
	return name
}
