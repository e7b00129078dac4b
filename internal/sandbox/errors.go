package sandbox

import "errors"

var (
	// ErrGone: the instance has ended.
	ErrGone = errors.New("the instance is gone")
	// ErrNotFound: there is no instance or container of this name.
	ErrNotFound = errors.New("not found")
	// ErrExists: an instance of this ID is there already.
	ErrExists = errors.New("an instance of this name exists")
	// ErrPhase: the instance is in a phase that does not allow the call, for example Freeze before Start.
	ErrPhase = errors.New("not possible in this phase")
	// ErrRuntimeMissing: the runtime asked for is not installed.
	ErrRuntimeMissing = errors.New("runtime is not installed")
	// ErrClosed: the Manager is stopping or does not run.
	ErrClosed = errors.New("the sandbox manager is not running")
	// ErrSpec: the Spec cannot be run; the error text says which field and why.
	ErrSpec = errors.New("invalid instance specification")
	// ErrUserNamespace: a user namespace is required and cannot be had; the error text says why.
	ErrUserNamespace = errors.New("no user namespace")
	// ErrEgressDenied: the policy refuses the destination.
	ErrEgressDenied = errors.New("destination is not allowed by the egress policy")
)
