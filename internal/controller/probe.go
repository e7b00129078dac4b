package controller

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// probeTarget is what a probe that names no port means.
type probeTarget struct {
	container *corev1.Container
	port      int32
	h2c       bool
}

// makeProbe turns a probe of the manifest into the sandbox's. nil stays nil.
func makeProbe(p *corev1.Probe, t probeTarget) (*sandbox.Probe, error) {
	if p == nil {
		return nil, nil
	}
	probe := &sandbox.Probe{
		InitialDelay:     time.Duration(p.InitialDelaySeconds) * time.Second,
		Period:           time.Duration(p.PeriodSeconds) * time.Second,
		Timeout:          time.Duration(p.TimeoutSeconds) * time.Second,
		SuccessThreshold: int(p.SuccessThreshold),
		FailureThreshold: int(p.FailureThreshold),
		Grace:            seconds(p.TerminationGracePeriodSeconds),
	}
	switch {
	case p.HTTPGet != nil:
		port, err := t.resolve(p.HTTPGet.Port)
		if err != nil {
			return nil, err
		}
		probe.HTTP = &sandbox.HTTPProbe{
			Port: port,
			Path: p.HTTPGet.Path,
			Host: p.HTTPGet.Host,
			TLS:  p.HTTPGet.Scheme == corev1.URISchemeHTTPS,
			H2C:  t.h2c && p.HTTPGet.Scheme != corev1.URISchemeHTTPS,
		}
		for _, h := range p.HTTPGet.HTTPHeaders {
			if h.Name == "Host" {
				probe.HTTP.Host = h.Value
				continue
			}
			probe.HTTP.Headers = append(probe.HTTP.Headers, sandbox.HTTPHeader{Name: h.Name, Value: h.Value})
		}
	case p.TCPSocket != nil:
		port, err := t.resolve(p.TCPSocket.Port)
		if err != nil {
			return nil, err
		}
		probe.TCP = &sandbox.TCPProbe{Port: port}
	case p.GRPC != nil:
		port, err := t.resolve(intstr.FromInt32(p.GRPC.Port))
		if err != nil {
			return nil, err
		}
		probe.GRPC = &sandbox.GRPCProbe{Port: port}
		if p.GRPC.Service != nil {
			probe.GRPC.Service = *p.GRPC.Service
		}
	case p.Exec != nil:
		probe.Exec = p.Exec.Command
	default: // Knative: a probe without a handler asks whether the port accepts connections
		probe.TCP = &sandbox.TCPProbe{Port: uint16(t.port)} //nolint:gosec // validated as a port
	}
	return probe, nil
}

// resolve finds the port a probe means: by number, by name, or by default the one that serves.
func (t probeTarget) resolve(port intstr.IntOrString) (uint16, error) {
	if port.Type == intstr.String && port.StrVal != "" {
		for _, p := range t.container.Ports {
			if p.Name == port.StrVal {
				return uint16(p.ContainerPort), nil //nolint:gosec // validated as a port
			}
		}
		n, err := strconv.ParseUint(port.StrVal, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("probe of container %s: there is no port %q", t.container.Name, port.StrVal)
		}
		return uint16(n), nil
	}
	n := port.IntVal
	if n == 0 {
		n = t.port
	}
	if n < 1 || n > 65535 {
		return 0, fmt.Errorf("probe of container %s: %d is not a port", t.container.Name, n)
	}
	return uint16(n), nil
}
