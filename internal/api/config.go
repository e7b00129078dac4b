package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"

	"github.com/fairlead-dev/fairlead/internal/quota"
)

// Config says what a Server serves and where. Dir and Etcd are required.
type Config struct {
	// Dir is the server's own folder: certificate, keys, tokens. It is made where it is missing, with mode 0700.
	Dir string
	// Etcd is the store's endpoint (store.Store.Endpoint). It is dialled in Run.
	Etcd string
	// Listen is host:port; empty is 127.0.0.1:6443, port 0 takes any.
	Listen string
	// Listener, when set, is used instead of one made for Listen. The server closes it.
	Listener net.Listener
	// Insecure serves plain HTTP, to which clients send no token: whoever reaches the port is the administrator, web
	// pages excepted. It is refused for a host that is not loopback.
	Insecure bool
	// Kubeconfig is the file that gets an administrator's kubeconfig; empty is Dir/kubeconfig.
	Kubeconfig string
	// Names are further host names and addresses for the certificate.
	Names []string
	// Definitions are loaded before ready is called. A stored definition that differs is brought up to date.
	Definitions []*apiextensionsv1.CustomResourceDefinition
	// Converters answer, in process, the conversion webhooks of definitions that name one of these Services.
	Converters map[types.NamespacedName]Converter
	// Namespaces exist from the start, besides default and kube-system. They can be emptied but not deleted.
	Namespaces []string
	// Seeds are created where they are missing and otherwise left alone.
	Seeds []*corev1.ConfigMap
	// Admission is asked about every write, after namespaces and before webhooks. It may implement
	// admission.MutationInterface, admission.ValidationInterface or both, and
	// k8s.io/apiserver/pkg/admission/initializer.WantsExternalKubeClientSet for a client.
	Admission []admission.Interface
	// EventTTL is how long events are kept after their last change, at least a second; 0 is an hour.
	EventTTL time.Duration
	// Audit is the log of who asked for what.
	Audit AuditLog
	// Quotas is the ledger that ResourceQuotas are kept by, which whoever makes instances shares; nil makes one.
	Quotas *quota.Ledger
	// Live answers pods/log, pods/exec, pods/attach and pods/portforward; nil answers 501 to them.
	Live Live
	// Views has views written before they are read; nil where there are none.
	Views Views
	// Version is the server's version for kubectl version, such as "v0.1.0"; empty is "v0.0.0".
	Version string
	// Logger may be nil.
	Logger *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer
}

// Live is what runs behind pods. The errors it returns may be API status errors (k8s.io/apimachinery/pkg/api/errors), which are
// passed on as they are.
type Live interface {
	// Logs gives the output of a container. The reader ends when the log does, or with ctx when options.Follow is set.
	Logs(ctx context.Context, namespace, pod, container string, options LogOptions) (io.ReadCloser, error)
	// Ended gives the pods of a service that are gone and whose logs Logs can still read, youngest first.
	Ended(ctx context.Context, namespace, service string) ([]corev1.Pod, error)
	// Exec runs a command in a container and returns when it has ended. A command that ran and ended with another code than
	// 0 is an *ExitError.
	Exec(ctx context.Context, namespace, pod, container string, options ExecOptions) error
	// PortForward dials a port inside the pod.
	PortForward(ctx context.Context, namespace, pod string, port int32) (net.Conn, error)
}

// LogOptions choose a part of a log. The zero value is all of it.
type LogOptions struct {
	// Follow goes on when the end is reached.
	Follow bool
	// Previous reads the log of the instance of the container that ended before this one.
	Previous bool
	// Timestamps puts an RFC 3339 time and a space before each line.
	Timestamps bool
	// Since leaves out older lines; zero for all.
	Since time.Time
	// TailLines keeps only the last lines; negative for all.
	TailLines int64
	// LimitBytes ends the log after so many bytes; 0 for no limit.
	LimitBytes int64
	// Stdout and Stderr select the streams.
	Stdout, Stderr bool
}

// ExecOptions say what Exec runs and where its streams go. Streams that were not asked for are nil.
type ExecOptions struct {
	// Command is the program and its arguments. Empty attaches to the running process instead.
	Command []string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	// TTY asks for a terminal; Stderr is nil then.
	TTY bool
	// Resize gives the terminal's sizes until the client is gone; nil without TTY.
	Resize <-chan TerminalSize
}

// TerminalSize is in characters.
type TerminalSize struct {
	Width, Height uint16
}

// ExitError is the end of a command with a code that is not 0.
type ExitError struct {
	Code int
}

func (e *ExitError) Error() string { return "command terminated with non-zero exit code" }

// complete checks a Config and fills in what was left out.
func (c Config) complete() (Config, error) {
	if c.Dir == "" || c.Etcd == "" {
		return c, errors.New("api: Config.Dir and Config.Etcd are required")
	}
	if c.Listener != nil {
		c.Listen = c.Listener.Addr().String()
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:6443"
	}
	if c.Kubeconfig == "" {
		c.Kubeconfig = filepath.Join(c.Dir, "kubeconfig")
	}
	if c.EventTTL == 0 {
		c.EventTTL = time.Hour
	}
	if c.EventTTL < time.Second {
		return c, fmt.Errorf("api: events cannot be kept for %s, only for a second or longer", c.EventTTL)
	}
	c.Definitions = append(slices.Clone(c.Definitions), aggregationDefinition())
	var err error
	if c.Audit, err = c.Audit.check(); err != nil {
		return c, err
	}
	if c.Quotas == nil {
		c.Quotas = quota.New()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Version == "" {
		c.Version = "v0.0.0"
	}
	return c, nil
}
