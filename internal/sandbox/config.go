package sandbox

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a Manager needs. Only Dir is required.
type Config struct {
	// Dir is owned by the Manager: instances, logs, the helper's socket. It is made if missing.
	Dir string
	// Executable is the program run as the helper with HelperArg. Empty: this program.
	Executable string
	// Runtime is the driver to prefer: "crun", "runc", "runsc", "process". Empty: the first of crun and runc that is installed; New
	// returns an error that says what to install if there is none and "process" was not asked for.
	Runtime string
	// CgroupParent is the cgroup under which everything is placed. Empty: "/fairlead".
	CgroupParent string
	// WritableBytes limits what an instance may write to its root file systems. Zero: 1 GiB.
	WritableBytes int64
	// Pids limits processes and threads of a container that says nothing itself. Zero: 4096.
	Pids int64
	// LogBytes bounds the log kept of one instance. Zero: 16 MiB.
	LogBytes int64
	// UserNamespace is what a Spec gets that says nothing. Empty: UsersAuto.
	UserNamespace UserNamespace
	// Keep leaves the instances running when Run's context ends, for the next daemon to adopt. Otherwise Run stops them all.
	Keep bool
	// StopGrace is the longest time between SIGTERM and SIGKILL when Run stops them, whatever their Specs say; also for those that
	// drain already. Run returns soon after it. Zero: 30 s.
	StopGrace time.Duration
	// OrphanAfter is how long a helper without a daemon waits before it ends all instances and itself. Zero: 10 min.
	OrphanAfter time.Duration
	// MeasureEvery is how often volumes on disk that have a limit are measured. Zero: 10 s.
	MeasureEvery time.Duration

	// Internal says whether a host name an instance asks for is served by Outbound. Names it does not claim go to the outside under
	// Spec.Egress. Called for every DNS question: it must be quick. nil: no name is internal.
	Internal func(from *Instance, host string) bool
	// Domains are the suffixes ("cluster.local") below which a name is either internal or does not exist.
	Domains []string
	// Outbound receives every connection from an instance to an internal name, or to an address of InternalAddrs, and owns it.
	Outbound func(Outbound)
	// InternalAddrs are address ranges whose connections go to Outbound too, without a Host.
	InternalAddrs []netip.Prefix
	// Resolver looks up outside names. nil: net.DefaultResolver.
	Resolver Resolver

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Resolver looks up addresses of outside names; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Outbound is a connection that an instance opened. Its arrival proves which instance it came from.
type Outbound struct {
	Conn net.Conn
	From *Instance
	// Host is the name the instance asked the resolver for, without the final dot; empty if it used an address.
	Host string
	// Addr is the address and port the instance connected to; the address of a name is a made-up one.
	Addr netip.AddrPort
}
