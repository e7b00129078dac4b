package sandbox

import (
	"net/netip"
	"time"
)

// Spec says what an instance is. It is plain data, written to disk as JSON so that a new daemon can adopt the instance.
type Spec struct {
	// ID names the instance: lower case letters, digits and '-', at most 63 bytes, unique in the Manager. Empty: one is made.
	ID string `json:"id,omitempty"`
	// Hostname is what the instance sees as its host name. Empty: the ID.
	Hostname string `json:"hostname,omitempty"`
	// Labels are kept with the instance and given back after adoption. This package does not read them.
	Labels map[string]string `json:"labels,omitempty"`
	// Init run one after the other to their end, each with exit code 0, after Start and before Containers.
	Init []Container `json:"init,omitempty"`
	// Containers run side by side and share network and volumes. At least one; the first is the main one.
	Containers []Container `json:"containers"`
	// Volumes are what Container.Mounts refer to by name.
	Volumes []Volume `json:"volumes,omitempty"`
	// Runtime is the driver: "crun", "runc", "runsc", "process", or empty for the Manager's own choice.
	Runtime string `json:"runtime,omitempty"`
	// Restart says what happens when a container of Containers ends. Empty: RestartAlways.
	Restart RestartPolicy `json:"restart,omitempty"`
	// Grace is the time between SIGTERM and SIGKILL when Stop is called with a negative grace. Zero: 30 s.
	Grace time.Duration `json:"grace,omitempty"`
	// WritableBytes limits what the containers may write to their root file systems together; it lives in memory and counts
	// against their memory limits. Zero: Config.WritableBytes.
	WritableBytes int64 `json:"writableBytes,omitempty"`
	// FSGroup owns the volumes and is a supplementary group of every process.
	FSGroup *int64 `json:"fsGroup,omitempty"`
	// Groups are further supplementary groups of every process.
	Groups []int64 `json:"groups,omitempty"`
	// Search are the DNS search domains written to /etc/resolv.conf.
	Search []string `json:"search,omitempty"`
	// Hosts are further lines of /etc/hosts.
	Hosts []Host `json:"hosts,omitempty"`
	// Egress says which outside destinations the instance may reach. The zero value allows all but Reserved ones.
	Egress Egress `json:"egress,omitzero"`
	// UserNamespace says whether the instance's users are others than the machine's. Empty: as Config says.
	UserNamespace UserNamespace `json:"userNamespace,omitempty"`
}

// UserNamespace says whether an instance has a user namespace: its root is then an ordinary user of the machine that nobody else is.
type UserNamespace string

const (
	// UsersAuto gives one where kernel, driver and Spec allow it; State.Users says why not.
	UsersAuto UserNamespace = "auto"
	// UsersRequired refuses with ErrUserNamespace what cannot have one.
	UsersRequired UserNamespace = "required"
	// UsersOff gives none.
	UsersOff UserNamespace = "off"
)

// Host is one line of /etc/hosts.
type Host struct {
	Addr  netip.Addr `json:"addr"`
	Names []string   `json:"names"`
}

// RestartPolicy says when an ended container is started again. Restarts are immediate the first time, then after 10 s, doubled up
// to 5 min, as a kubelet does; ten quiet minutes reset the delay.
type RestartPolicy string

const (
	RestartAlways    RestartPolicy = "Always"
	RestartOnFailure RestartPolicy = "OnFailure"
	RestartNever     RestartPolicy = "Never"
)

// Container is one process tree with its own root file system, cgroup and limits.
type Container struct {
	// Name is unique in the instance: lower case letters, digits and '-'.
	Name string `json:"name"`
	// Lowers are the read-only directories of the root file system in the order of the image's layers: base first, topmost last.
	Lowers []string `json:"lowers"`
	// Args is the whole command line, the program first. A program without '/' is looked up in the container's PATH.
	Args []string `json:"args"`
	// Env are the variables as NAME=value. PATH is set if it is not among them.
	Env []string `json:"env,omitempty"`
	// Dir is the working directory, made if missing. Empty: "/".
	Dir string `json:"dir,omitempty"`
	// User is the image's own user: "", "name", "uid", "name:group", "uid:gid". Names are looked up in the container's files.
	User string `json:"user,omitempty"`
	// RunAsUser and RunAsGroup go before User.
	RunAsUser  *int64 `json:"runAsUser,omitempty"`
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`
	// RunAsNonRoot refuses to create the container if its user is 0.
	RunAsNonRoot bool `json:"runAsNonRoot,omitempty"`
	// Mounts are the places of volumes.
	Mounts []Mount `json:"mounts,omitempty"`
	// Resources are the limits; zero values mean none.
	Resources Resources `json:"resources,omitzero"`
	// ReadOnlyRoot makes the root file system read-only; /tmp and volumes stay writable.
	ReadOnlyRoot bool `json:"readOnlyRoot,omitempty"`
	// AllowPrivilegeEscalation leaves no_new_privs unset.
	AllowPrivilegeEscalation bool `json:"allowPrivilegeEscalation,omitempty"`
	// CapAdd and CapDrop change the usual set of capabilities ("NET_ADMIN", "ALL"). Drops come first.
	CapAdd  []string `json:"capAdd,omitempty"`
	CapDrop []string `json:"capDrop,omitempty"`
	// SeccompUnconfined runs the container without the default system call filter.
	SeccompUnconfined bool `json:"seccompUnconfined,omitempty"`
	// Readiness, Liveness and Startup are optional. Without Readiness a started container is ready.
	Readiness *Probe `json:"readiness,omitempty"`
	Liveness  *Probe `json:"liveness,omitempty"`
	Startup   *Probe `json:"startup,omitempty"`
}

// Mount is the place of a volume in a container.
type Mount struct {
	Volume   string `json:"volume"`
	Path     string `json:"path"`              // absolute, in the container
	SubPath  string `json:"subPath,omitempty"` // relative, in the volume
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Volume is a directory shared by the containers of an instance. Exactly one of Empty, Files and HostPath is set.
type Volume struct {
	Name     string       `json:"name"`
	Empty    *EmptyVolume `json:"empty,omitempty"`
	Files    *FilesVolume `json:"files,omitempty"`
	HostPath string       `json:"hostPath,omitempty"` // an existing directory of the machine; it outlives the instance
}

// EmptyVolume starts empty and is gone with the instance.
type EmptyVolume struct {
	// Memory puts it in memory, where it counts against the writer's memory limit.
	Memory bool `json:"memory,omitempty"`
	// SizeBytes limits it. Zero: no limit on disk, half of the machine's memory in memory. A limited volume on disk that outgrows
	// its limit stops the instance with ReasonEvicted, as a kubelet would.
	SizeBytes int64 `json:"sizeBytes,omitempty"`
}

// FilesVolume holds files given as data. Instance.SetFiles replaces them all at once, so that a reader sees either the old or
// the new set. Containers always see it read-only.
type FilesVolume struct {
	Files map[string]File `json:"files"`
}

// File is one file of a FilesVolume, by its relative path.
type File struct {
	Data []byte `json:"data"`
	Mode uint32 `json:"mode,omitempty"` // permission bits; zero: 0644
}

// Resources limits one container. Zero values mean no limit.
type Resources struct {
	MemoryBytes      int64 `json:"memoryBytes,omitempty"`      // hard limit, rounded down to whole pages
	CPUMillis        int64 `json:"cpuMillis,omitempty"`        // hard limit, 1000 is one processor
	CPURequestMillis int64 `json:"cpuRequestMillis,omitempty"` // share when processors are contended
	Pids             int64 `json:"pids,omitempty"`             // processes and threads; zero: Config.Pids
}

// Probe asks a container how it is. Exactly one of HTTP, TCP, GRPC and Exec is set.
type Probe struct {
	HTTP *HTTPProbe `json:"http,omitempty"`
	TCP  *TCPProbe  `json:"tcp,omitempty"`
	GRPC *GRPCProbe `json:"grpc,omitempty"`
	Exec []string   `json:"exec,omitempty"` // succeeds with exit code 0

	InitialDelay time.Duration `json:"initialDelay,omitempty"`
	// Period is the time between two probes. Zero: for readiness the fast built-in probing (every fraction of a millisecond at
	// first, backing off to 25 ms until the first success, then every 10 s); for the others 10 s.
	Period           time.Duration `json:"period,omitempty"`
	Timeout          time.Duration `json:"timeout,omitempty"`          // zero: 1 s
	SuccessThreshold int           `json:"successThreshold,omitempty"` // zero: 1
	FailureThreshold int           `json:"failureThreshold,omitempty"` // zero: 3
	// Grace replaces Spec.Grace when a failed liveness or startup probe ends the container.
	Grace time.Duration `json:"grace,omitempty"`
}

// HTTPProbe succeeds on a status from 200 to 399. The request carries the header K-Network-Probe only if Headers says so.
type HTTPProbe struct {
	Port    uint16       `json:"port"`
	Path    string       `json:"path,omitempty"`
	Host    string       `json:"host,omitempty"` // the Host header; empty: the instance's address
	TLS     bool         `json:"tls,omitempty"`  // the certificate is not verified
	H2C     bool         `json:"h2c,omitempty"`  // HTTP/2 without TLS
	Headers []HTTPHeader `json:"headers,omitempty"`
}

// HTTPHeader is one header line of a probe.
type HTTPHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TCPProbe succeeds if the port accepts a connection.
type TCPProbe struct {
	Port uint16 `json:"port"`
}

// GRPCProbe succeeds if grpc.health.v1.Health/Check says SERVING.
type GRPCProbe struct {
	Port    uint16 `json:"port"`
	Service string `json:"service,omitempty"`
}

// Egress is the policy for destinations outside of Fairlead. Deny goes before Allow. Entries are host names ("example.com"),
// whole domains ("*.example.com", which is not example.com itself), addresses or CIDR ranges.
//
// The machine's own addresses, loopback, link-local and the cloud metadata addresses are refused unless Allow names them
// by address or range.
type Egress struct {
	// DefaultDeny refuses what Allow does not name.
	DefaultDeny bool     `json:"defaultDeny,omitempty"`
	Allow       []string `json:"allow,omitempty"`
	Deny        []string `json:"deny,omitempty"`
}
