package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"
)

// serviceFlags shape the Service that run and deploy make.
type serviceFlags struct {
	name        string
	env         []string
	envFile     string
	port        portFlag
	scale       string
	concurrency int64
	memory, cpu string
	isolation   string
	args        []string // of the program, from after --
}

func (f *serviceFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.name, "name", "", "name of the service (default: from the folder or image)")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "environment variable NAME=VALUE; NAME alone takes it from this shell")
	flags.StringVar(&f.envFile, "env-file", "", "file with lines NAME=VALUE")
	flags.VarP(&f.port, "port", "p", "port the code listens on, or h2c:PORT for gRPC and other HTTP/2 without TLS (default: what PORT says, 8080)")
	flags.StringVar(&f.scale, "scale", "", "instances: N, MIN..MAX, MIN.. or ..MAX (default 0..)")
	flags.Int64Var(&f.concurrency, "concurrency", 0, "most requests at once in one instance (default: no limit)")
	flags.StringVar(&f.memory, "memory", "", "memory limit of an instance, as in 256Mi")
	flags.StringVar(&f.cpu, "cpu", "", "processor limit of an instance, as in 500m or 2")
	flags.StringVar(&f.isolation, "isolation", "", "what keeps an instance apart: "+strings.Join(isolations, ", ")+" (default: the daemon's)")
}

// portFlag is a port as a flag, with the name by which Knative knows its protocol; zero is a flag that was not given.
type portFlag struct {
	name   string
	number int32
}

// String is empty for a flag that was not given.
func (p *portFlag) String() string {
	switch {
	case p.number == 0:
		return ""
	case p.name == "":
		return strconv.Itoa(int(p.number))
	}
	return fmt.Sprintf("%s:%d", p.name, p.number)
}

// Set reads a port from 1 to 65535, perhaps after its protocol.
func (p *portFlag) Set(text string) error {
	name, number, named := strings.Cut(text, ":")
	switch {
	case !named:
		name, number = "", text
	case name != "h2c" && name != "http1":
		return fmt.Errorf("--port %s: %q is no protocol of a port: h2c or http1", text, name)
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("--port %s is not a port: 1 to 65535", text)
	}
	*p = portFlag{name, int32(n)} //nolint:gosec // of 16 bits
	return nil
}

// Type names the value in the help text.
func (p *portFlag) Type() string { return "port" }

// service makes the manifest that runs an image.
func (f *serviceFlags) service(name, namespace, image string) (*servingv1.Service, error) {
	container := corev1.Container{Image: image, Args: f.args}
	var err error
	if container.Env, err = f.environment(); err != nil {
		return nil, err
	}
	if f.port.number != 0 {
		container.Ports = []corev1.ContainerPort{{Name: f.port.name, ContainerPort: f.port.number}}
	}
	if container.Resources.Limits, err = f.limits(); err != nil {
		return nil, err
	}
	annotations, err := scaleAnnotations(f.scale)
	if err != nil {
		return nil, err
	}
	service := &servingv1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: servingv1.SchemeGroupVersion.String(), Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
	}
	service.Spec.Template.Annotations = annotations
	service.Spec.Template.Spec.Containers = []corev1.Container{container}
	if service.Spec.Template.Spec.RuntimeClassName, err = runtimeClass(f.isolation); err != nil {
		return nil, err
	}
	if f.concurrency < 0 {
		return nil, usagef("--concurrency %d is negative", f.concurrency)
	}
	if f.concurrency > 0 {
		service.Spec.Template.Spec.ContainerConcurrency = &f.concurrency
	}
	return service, nil
}

func (f *serviceFlags) environment() ([]corev1.EnvVar, error) {
	var env []corev1.EnvVar
	if f.envFile != "" {
		file, err := os.Open(f.envFile)
		if err != nil {
			return nil, fmt.Errorf("--env-file: %w", err)
		}
		defer file.Close()
		if env, err = parseEnvFile(file); err != nil {
			return nil, fmt.Errorf("--env-file %s: %w", f.envFile, err)
		}
	}
	for _, assignment := range f.env {
		name, value, found := strings.Cut(assignment, "=")
		if !found {
			if value, found = os.LookupEnv(name); !found {
				return nil, withTry(usagef("--env %s: this shell has no such variable", name), "--env %s=VALUE", name)
			}
		}
		if !variableName.MatchString(name) {
			return nil, usagef("--env %q: %q is no name of a variable", assignment, name)
		}
		env = append(env, corev1.EnvVar{Name: name, Value: value})
	}
	return env, nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// parseEnvFile reads lines NAME=VALUE; empty lines and lines that begin with # are skipped, quotes around a value go.
func parseEnvFile(r io.Reader) ([]corev1.EnvVar, error) {
	var env []corev1.EnvVar
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for number := 1; scanner.Scan(); number++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name = strings.TrimSpace(name)
		if !found || !variableName.MatchString(name) {
			return nil, fmt.Errorf("line %d: %q is not NAME=VALUE", number, line)
		}
		env = append(env, corev1.EnvVar{Name: name, Value: unquote(strings.TrimSpace(value))})
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	return env, nil
}

func unquote(value string) string {
	if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
		return value[1 : len(value)-1]
	}
	return value
}

func (f *serviceFlags) limits() (corev1.ResourceList, error) {
	limits := corev1.ResourceList{}
	for name, text := range map[corev1.ResourceName]string{corev1.ResourceMemory: f.memory, corev1.ResourceCPU: f.cpu} {
		if text == "" {
			continue
		}
		quantity, err := resource.ParseQuantity(text)
		if err != nil || quantity.Sign() <= 0 {
			return nil, withTry(usagef("--%s %q is not a quantity above zero", name, text), "--memory 256Mi --cpu 500m")
		}
		limits[name] = quantity
	}
	if len(limits) == 0 {
		return nil, nil
	}
	return limits, nil
}

// scaleAnnotations turns N, MIN..MAX, MIN.. or ..MAX into the annotations of the autoscaler.
func scaleAnnotations(scale string) (map[string]string, error) {
	if scale == "" {
		return nil, nil
	}
	low, high, isRange := strings.Cut(scale, "..")
	if !isRange {
		high = low
	}
	annotations := map[string]string{}
	bounds := map[string]int{}
	for key, text := range map[string]string{autoscaling.MinScaleAnnotationKey: low, autoscaling.MaxScaleAnnotationKey: high} {
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 1000 {
			return nil, withTry(usagef("--scale %q: %q is not a number from 0 to 1000", scale, text), "--scale 0..10")
		}
		annotations[key], bounds[key] = strconv.Itoa(n), n
	}
	least, most := bounds[autoscaling.MinScaleAnnotationKey], bounds[autoscaling.MaxScaleAnnotationKey]
	if most != 0 && least > most {
		return nil, withTry(usagef("--scale %q: %d is more than %d", scale, least, most), "--scale %d..%d", most, least)
	}
	return annotations, nil
}

// givenName takes the name that somebody gives a service, or an image, as it is.
func givenName(name string) (string, error) {
	if len(validation.IsDNS1035Label(name)) == 0 {
		return name, nil
	}
	err := usagef("--name %q: a name is of at most %d letters a-z, digits and dashes, begins with a letter and does not end with a dash", name, validation.DNS1035LabelMaxLength)
	like, notLike := serviceName(name)
	if notLike != nil {
		like = "hello"
	}
	return "", withTry(err, "--name %s", like)
}

// serviceName makes a name for a service from a folder or image: what is no letter, digit or dash becomes a dash.
func serviceName(from string) (string, error) {
	name := strings.ToLower(from)
	name = strings.Trim(notInName.ReplaceAllString(name, "-"), "-")
	name = strings.TrimLeft(name, "0123456789-")
	if len(name) > 50 {
		name = strings.TrimRight(name[:50], "-")
	}
	if len(validation.IsDNS1035Label(name)) > 0 {
		return "", withTry(usagef("no name for a service can be made from %q", from), "--name NAME")
	}
	return name, nil
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// sourceFolder tells whether the argument of run is something on this machine to build, and gives its absolute path.
func sourceFolder(argument string) (path string, found bool, err error) {
	info, err := os.Stat(argument)
	if errors.Is(err, fs.ErrNotExist) {
		if strings.HasPrefix(argument, ".") || strings.HasPrefix(argument, "/") {
			return "", false, withTry(fmt.Errorf("%s does not exist", argument), "name a folder with source, a binary or an image")
		}
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look at %s: %w", argument, err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return "", false, fmt.Errorf("%s is neither a folder nor a file", argument)
	}
	path, err = filepath.Abs(argument)
	return path, true, err
}

// imageName is the last element of a reference without tag and digest: "hello" for registry.example/team/hello:v1.
func imageName(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	name = name[strings.LastIndex(name, "/")+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}

// manifestYAML shows a manifest as a person would write it, without the empty status and creation time.
func manifestYAML(object any) ([]byte, error) {
	fields, err := manifestFields(object)
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(fields)
}

// manifestFields are only the fields that are set, which is what server-side apply wants to own.
func manifestFields(object any) (map[string]any, error) {
	text, err := yaml.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("write the manifest: %w", err)
	}
	fields := map[string]any{}
	if err := yaml.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("write the manifest: %w", err)
	}
	delete(fields, "status")
	prune(fields)
	return fields, nil
}

// prune removes nulls, empty maps and the empty name that a container without one is written with.
func prune(fields map[string]any) {
	for key, value := range fields {
		switch v := value.(type) {
		case nil:
			delete(fields, key)
		case string:
			if key == "name" && v == "" {
				delete(fields, key)
			}
		case map[string]any:
			prune(v)
			if len(v) == 0 {
				delete(fields, key)
			}
		case []any:
			for _, element := range v {
				if m, ok := element.(map[string]any); ok {
					prune(m)
				}
			}
		}
	}
}
