package project

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// otherProtocols are ports on which programs speak something else than HTTP.
var otherProtocols = []int32{
	22, 25, 53, 110, 143, 389, 465, 587, 636, 993, 995, // ssh, mail, names, directories
	1025, 1433, 1521, 1883, 2181, 2379, 3306, 4222, 5432, 5433, 5671, 5672, 6379, 6380, 6432, 6650, 7000, 7687, 8883,
	9042, 9092, 9093, 9094, 11211, 26257, 26379, 27017, 27018, 28015, 33060,
}

// kind decides whether a service speaks HTTP, and on which port; 0 is whatever PORT says.
func (c *composer) kind(s types.ServiceConfig) (port int32, http bool, err error) {
	ports := tcpPorts(s)
	if len(ports) == 0 {
		port = portVariable(s)
	} else {
		port = ports[0]
	}
	said, has := s.Extensions[kindExtension]
	switch {
	case has && said == "service":
		http = true
	case has && said == "instance":
	case has:
		return 0, false, fmt.Errorf("%s is %v, not service or instance", kindExtension, said)
	default:
		http = port != 0 && !slices.Contains(otherProtocols, port)
		for _, p := range s.Ports {
			http = http || strings.HasPrefix(p.AppProtocol, "http")
		}
		if !http && port == 0 {
			c.note(s.Name, nil, "names no port, so it runs as an always-on instance; %s: service makes it one that scales", kindExtension)
		}
	}
	if http && len(ports) > 1 {
		c.note(s.Name, []string{"ports"}, "are several: a service that scales has one, %d", port)
	}
	for i, p := range s.Ports {
		if p.Protocol == "udp" {
			c.note(s.Name, []string{"ports", strconv.Itoa(i)}, "is UDP, which is not supported")
		}
	}
	return port, http, nil
}

// tcpPorts are the ports inside, published ones first.
func tcpPorts(s types.ServiceConfig) []int32 {
	var ports []int32
	add := func(port int32) {
		if port > 0 && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	for _, p := range s.Ports {
		if p.Protocol != "udp" && p.Target <= math.MaxUint16 {
			add(int32(p.Target)) //nolint:gosec // checked in the line above
		}
	}
	for _, text := range s.Expose {
		number, protocol, _ := strings.Cut(text, "/")
		if n, err := strconv.ParseInt(number, 10, 32); err == nil && protocol != "udp" && n <= math.MaxUint16 {
			add(int32(n)) //nolint:gosec // of 32 bits
		}
	}
	return ports
}

// portVariable is the port that the environment variable PORT says.
func portVariable(s types.ServiceConfig) int32 {
	if value := s.Environment["PORT"]; value != nil {
		if n, err := strconv.ParseUint(*value, 10, 16); err == nil {
			return int32(n) //nolint:gosec // of 16 bits
		}
	}
	return 0
}

// environment leaves out what a service that scales is told anyway, and may not be told otherwise.
func (c *composer) environment(s types.ServiceConfig, port int32, http bool) []corev1.EnvVar {
	var env []corev1.EnvVar
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		value := s.Environment[name]
		if value == nil {
			continue // the shell has no such variable, so neither has the service
		}
		if http && name == "PORT" {
			if *value != strconv.Itoa(int(port)) {
				c.note(s.Name, []string{"environment", "PORT"}, "is %s, but the port is %d, which PORT says in a service that scales", *value, port)
			}
			continue
		}
		env = append(env, corev1.EnvVar{Name: name, Value: *value})
	}
	return env
}

func replicas(s types.ServiceConfig) *int {
	if s.Deploy != nil && s.Deploy.Replicas != nil {
		return s.Deploy.Replicas
	}
	return s.Scale
}

func resources(s types.ServiceConfig) (corev1.ResourceRequirements, error) {
	var r corev1.ResourceRequirements
	set := func(list *corev1.ResourceList, cpus float32, memory types.UnitBytes) error {
		if cpus < 0 || memory < 0 {
			return fmt.Errorf("cpus %v and memory %d must not be below zero", cpus, memory)
		}
		made := corev1.ResourceList{}
		if cpus > 0 {
			made[corev1.ResourceCPU] = *resource.NewMilliQuantity(int64(math.Round(float64(cpus)*1000)), resource.DecimalSI)
		}
		if memory > 0 {
			made[corev1.ResourceMemory] = *resource.NewQuantity(int64(memory), resource.BinarySI)
		}
		if len(made) > 0 {
			*list = made
		}
		return nil
	}
	cpus, memory := s.CPUS, s.MemLimit
	if s.Deploy != nil {
		if l := s.Deploy.Resources.Limits; l != nil {
			cpus, memory = max(cpus, float32(l.NanoCPUs)), max(memory, l.MemoryBytes)
		}
		if q := s.Deploy.Resources.Reservations; q != nil {
			if err := set(&r.Requests, float32(q.NanoCPUs), q.MemoryBytes); err != nil {
				return r, err
			}
		}
	}
	return r, set(&r.Limits, cpus, memory)
}

// securityContext is for a user by number; names are only known inside the image.
func securityContext(s types.ServiceConfig) (*corev1.SecurityContext, error) {
	if s.User == "" && !s.ReadOnly {
		return nil, nil
	}
	context := &corev1.SecurityContext{}
	if s.ReadOnly {
		context.ReadOnlyRootFilesystem = &s.ReadOnly
	}
	if s.User != "" {
		user, group, hasGroup := strings.Cut(s.User, ":")
		uid, err := strconv.ParseInt(user, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %q is not a number, by which alone a user can be named here", s.User)
		}
		context.RunAsUser = &uid
		if hasGroup {
			gid, err := strconv.ParseInt(group, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("group of user %q is not a number", s.User)
			}
			context.RunAsGroup = &gid
		}
	}
	return context, nil
}

// probe turns a health check into a readiness probe; nil where there is none.
func probe(h *types.HealthCheckConfig) *corev1.Probe {
	if h == nil || h.Disable || len(h.Test) < 2 {
		return nil
	}
	command := []string(h.Test[1:])
	if h.Test[0] == "CMD-SHELL" {
		command = []string{"/bin/sh", "-c", h.Test[1]}
	}
	p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}}}
	// What Compose takes where nothing is said.
	p.PeriodSeconds, p.TimeoutSeconds, p.FailureThreshold = 30, 30, 3
	seconds := func(d *types.Duration, field *int32) {
		if d != nil {
			*field = int32(min(max(math.Ceil(time.Duration(*d).Seconds()), 1), 3600))
		}
	}
	seconds(h.Interval, &p.PeriodSeconds)
	seconds(h.Timeout, &p.TimeoutSeconds)
	if h.Retries != nil {
		p.FailureThreshold = int32(min(*h.Retries, 1000)) //nolint:gosec // checked
	}
	return p
}

// nameService is the core Service by which others find an instance. It is headless, so that it may be without ports,
// as a Compose file may leave them out between its services.
func (p *Project) nameService(namespace, name string, ports []int32) *corev1.Service {
	s := &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: p.meta(namespace, name, name)}
	s.Spec.ClusterIP = corev1.ClusterIPNone
	s.Spec.Selector = map[string]string{LabelProject: p.Name, LabelWorkload: name}
	for _, port := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("tcp-%d", port), Port: port})
	}
	return s
}
