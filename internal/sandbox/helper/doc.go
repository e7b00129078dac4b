// Package helper is the process that holds the instances, and the daemon's connection to it.
//
// The helper is the daemon's own binary run again. It has a private mount namespace, where all root file systems and volumes are
// mounted, so that nothing is left mounted when it ends, and where a version 2 control group mount beside version 1 is covered,
// which some runtimes refuse. It runs the OCI runtime, is the parent of every container, learns how each ended, pumps their
// output into the log, and holds the network namespaces with their listeners. It keeps no file of its own but its socket,
// lock and log; what it knows is in memory, and a new daemon asks for it with List.
//
// One daemon is connected at a time; a new connection replaces the old one. A helper that has been without a daemon for
// Options.OrphanAfter ends everything and itself.
//
// Messages are JSON, one a packet on a SOCK_SEQPACKET unix socket, with files attached where needed. Requests may be answered
// in any order.
package helper

import (
	"encoding/json"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

// Version of the protocol. A daemon that finds a helper of another version ends it and what it holds.
const Version = 2

// Options are what a helper is started with.
type Options struct {
	Dir          string        `json:"dir"`          // of the Manager
	CgroupParent string        `json:"cgroupParent"` // everything goes below
	CgroupBase   cgroup.Place  `json:"cgroupBase"`   // see cgroup.OpenAt
	OrphanAfter  time.Duration `json:"orphanAfter"`
	LogBytes     int64         `json:"logBytes"` // of one instance
}

// Ref names a container of an instance.
type Ref struct {
	Instance  string `json:"instance"`
	Container string `json:"container"`
}

// OpenArgs says what an instance needs before its first container.
type OpenArgs struct {
	Instance      string      `json:"instance"`
	Dir           string      `json:"dir"`    // of the instance; mounts go below
	LogDir        string      `json:"logDir"` // of the instance
	WritableBytes int64       `json:"writableBytes"`
	Memory        []MemoryDir `json:"memory,omitempty"`
	HostNetwork   bool        `json:"hostNetwork,omitempty"` // make no namespace
	Moves         bool        `json:"moves,omitempty"`       // a runtime will move processes to other control groups: get ready
	// Users gives the instance a user namespace. Layers are then the directories of all root file systems and Hosts the
	// directories of the machine by the name of their volume: they are shown with the instance's users.
	Users  bool              `json:"users,omitempty"`
	Layers []string          `json:"layers,omitempty"`
	Hosts  map[string]string `json:"hosts,omitempty"`
}

// Opened says how an open instance is seen.
type Opened struct {
	// View is the folder of the instance as the runtime sees it: OpenArgs.Dir, or another path of it with the instance's users.
	View string `json:"view"`
	// Users is the range of the machine's users that those of the instance are; no Count without a user namespace.
	Users Range `json:"users,omitzero"`
}

// Range maps the users and groups from 0 to Count-1 of an instance to those from First on of the machine.
type Range struct {
	First uint32 `json:"first"`
	Count uint32 `json:"count"`
}

// MemoryDir is a directory in memory, mounted over an existing one.
type MemoryDir struct {
	Path      string `json:"path"`
	SizeBytes int64  `json:"sizeBytes"` // zero: the kernel's default
	Mode      uint32 `json:"mode"`
	GID       int64  `json:"gid"`
}

// CreateArgs says what a container is. Bundle holds config.json, and rootfs will be mounted there.
type CreateArgs struct {
	Ref
	Run     int      `json:"run"` // counts the runs of this container, from 0
	Runtime string   `json:"runtime"`
	Binary  string   `json:"binary"` // path of the runtime
	Bundle  string   `json:"bundle"`
	Lowers  []string `json:"lowers"` // base first
	Cgroup  string   `json:"cgroup"`
	// Resources are the limits, for drivers and control groups that no runtime takes care of.
	Resources *specs.LinuxResources `json:"resources,omitempty"`
	UID       uint32                `json:"uid"` // the program's user in the instance
}

// Created is a container whose user code does not run yet.
type Created struct {
	Pid int `json:"pid"`
	// Fifo starts the container: by writing a byte to it, or, if FifoReads, by reading one from it. Empty: use Client.Start.
	Fifo      string `json:"fifo,omitempty"`
	FifoReads bool   `json:"fifoReads,omitempty"`
	// Started: it has been let run. Only a container without a fifo says so.
	Started bool `json:"started,omitempty"`
	// Root is where the container's files are, with its volumes; empty: in the root of its process.
	Root string `json:"root,omitempty"`
}

// Exit says how a container's process ended.
type Exit struct {
	Code      int       `json:"code"`
	Signal    int       `json:"signal,omitempty"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	PidsFull  int64     `json:"pidsFull,omitempty"` // forks refused by the pids limit
	Ended     time.Time `json:"ended"`
}

// Event tells that a run of a container has ended.
type Event struct {
	Ref
	Run  int  `json:"run"`
	Exit Exit `json:"exit"`
}

// Listed is an instance that the helper holds.
type Listed struct {
	Instance   string            `json:"instance"`
	Containers []ListedContainer `json:"containers"`
}

// ListedContainer is a container that the helper holds.
type ListedContainer struct {
	Name string `json:"name"`
	Run  int    `json:"run"`
	Created
	Exit *Exit `json:"exit,omitempty"`
}

// ExecArgs says what to run in a container. Standard input, output and error are attached as files, unless the process has a
// terminal: then the runtime sends its master side to the socket Console.
type ExecArgs struct {
	Ref
	ID      string          `json:"id"`
	Process json.RawMessage `json:"process"` // an OCI process object
	Console string          `json:"console,omitempty"`
}

type request struct {
	ID   uint64          `json:"id"`
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args,omitempty"`
}

type response struct {
	ID     uint64          `json:"id,omitempty"` // zero: an event
	Error  string          `json:"error,omitempty"`
	Code   string          `json:"code,omitempty"` // of an error that the daemon acts on
	Result json.RawMessage `json:"result,omitempty"`
	Event  *Event          `json:"event,omitempty"`
}

type hello struct {
	Version    int          `json:"version"`
	Pid        int          `json:"pid"`
	CgroupBase cgroup.Place `json:"cgroupBase"`
}

// maxMessage bounds one packet.
const maxMessage = 192 << 10

// maxFiles bounds the files attached to one packet.
const maxFiles = 8
