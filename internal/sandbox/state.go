package sandbox

import "time"

// Phase is where an instance is in its life: created -> running <-> frozen -> draining -> gone.
type Phase string

const (
	// PhaseCreated: a spare. Everything stands, no user code runs.
	PhaseCreated Phase = "created"
	// PhaseRunning: Start was called. State.Ready says whether it may get requests.
	PhaseRunning Phase = "running"
	// PhaseFrozen: every process is stopped in place and uses no CPU. State.Ready is false.
	PhaseFrozen Phase = "frozen"
	// PhaseDraining: SIGTERM was sent, SIGKILL follows after the grace time.
	PhaseDraining Phase = "draining"
	// PhaseGone: nothing is left but logs. Final.
	PhaseGone Phase = "gone"
)

// Reasons of ContainerStatus and State. They are the field's own words, shown to users as they are.
const (
	ReasonCompleted       = "Completed"            // exit code 0
	ReasonError           = "Error"                // another exit code, or a signal
	ReasonOOMKilled       = "OOMKilled"            // the memory limit was exceeded
	ReasonStartError      = "StartError"           // the runtime could not start the program
	ReasonCannotRun       = "ContainerCannotRun"   // the program is missing or not executable
	ReasonCreateError     = "CreateContainerError" // the runtime refused to create the container
	ReasonCrashLoop       = "CrashLoopBackOff"     // waiting before the next restart
	ReasonInitFailed      = "InitFailed"           // an init container ended with another exit code than 0
	ReasonUnhealthy       = "Unhealthy"            // a probe failed
	ReasonEvicted         = "Evicted"              // a limited volume outgrew its limit
	ReasonStopped         = "Stopped"              // Stop was called
	ReasonHelperLost      = "HelperLost"           // the helper died and everything it held with it
	ReasonPodInitializing = "PodInitializing"      // waiting for init containers
)

// State is a snapshot of an instance.
type State struct {
	Phase Phase `json:"phase"`
	// Ready: every container is started and its readiness probe succeeds.
	Ready bool `json:"ready"`
	// Reason and Message say why the instance is gone or not ready. Message is for people.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Created, Started and ReadyAt are when the instance was made, woken and first ready; zero if not yet.
	Created time.Time `json:"created"`
	Started time.Time `json:"started,omitzero"`
	ReadyAt time.Time `json:"readyAt,omitzero"`
	// Users are those of the machine that the instance's users are.
	Users Users `json:"users,omitzero"`
	// Isolation says what keeps the instance apart.
	Isolation Isolation `json:"isolation,omitzero"`
	// Init and Containers are in the order of the Spec.
	Init       []ContainerStatus `json:"init,omitempty"`
	Containers []ContainerStatus `json:"containers"`
}

// Users says how the users of an instance are mapped to those of the machine.
type Users struct {
	// First is what user and group 0 of the instance are on the machine, Count how many follow. Count 0: there is no user
	// namespace, and Missing says why.
	First   uint32 `json:"first,omitempty"`
	Count   uint32 `json:"count,omitempty"`
	Missing string `json:"missing,omitempty"`
}

// Isolation says what keeps an instance apart from the machine.
type Isolation struct {
	// Runtime is the driver: "crun", "runc", "runsc" or "process".
	Runtime string `json:"runtime"`
	// Missing says, for people, why this is not the isolation of a container, and what there is instead. Empty: it is.
	Missing string `json:"missing,omitempty"`
}

// ContainerPhase is where one container is.
type ContainerPhase string

const (
	ContainerWaiting ContainerPhase = "waiting" // created, or between two runs
	ContainerRunning ContainerPhase = "running"
	ContainerExited  ContainerPhase = "exited" // and will not run again
)

// ContainerStatus is a snapshot of one container.
type ContainerStatus struct {
	Name  string         `json:"name"`
	Phase ContainerPhase `json:"phase"`
	Ready bool           `json:"ready"`
	// Started: it runs and its startup probe, if any, has succeeded.
	Started   bool      `json:"started"`
	StartedAt time.Time `json:"startedAt,omitzero"`
	// Restarts counts how often it was started again.
	Restarts int `json:"restarts"`
	// Reason and Message say why it waits.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Elsewhere is where a container listens that runs, is not ready, and is asked on another port; nil for others.
	Elsewhere *Elsewhere `json:"elsewhere,omitempty"`
	// Exit is how the current run ended, Last how the run before it did.
	Exit *Exit `json:"exit,omitempty"`
	Last *Exit `json:"last,omitempty"`
}

// Exit says how a run of a container ended.
type Exit struct {
	Code    int       `json:"code"`             // 128 + signal if a signal ended it
	Signal  int       `json:"signal,omitempty"` // zero if it exited by itself
	Reason  string    `json:"reason"`           // ReasonCompleted, ReasonError, ReasonOOMKilled, ...
	Message string    `json:"message,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended"`
}

// Usage is what an instance uses now.
type Usage struct {
	Time        time.Time
	CPU         time.Duration // processor time since creation
	MemoryBytes int64         // current use without reclaimable file cache
	Pids        int64
}
