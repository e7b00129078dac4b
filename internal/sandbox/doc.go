// Package sandbox turns root file systems and a specification into running, isolated instances: it creates, starts,
// freezes, watches and stops them. It knows nothing of Knative: images are ordered read-only directories, and what an
// instance is for is written in labels that this package only keeps.
//
// An instance is one or more containers that share a network namespace and volumes. Create makes a spare: the OCI
// runtime's create step is done, cgroups, namespaces and mounts stand, but no user code runs. Start wakes it by one write to
// a fifo. The runtime is never called by the daemon itself but by a helper, this same binary run again in a private mount
// namespace (see HelperMain); the helper is the parent of every container, writes their logs, holds their network namespaces
// and outlives the daemon, so that a new daemon adopts running instances.
//
// The network of an instance has no link to the outside. Instance.Dial reaches in; whatever the instance sends out arrives
// at a listener of this package, which knows the instance it came from and the name it meant: see Config.Outbound.
//
// All methods of Manager and Instance may be called at once from many goroutines. Every Instance has one owner goroutine
// that alone moves its state; Manager.Run owns those goroutines and returns when they have ended.
//
//	m, err := sandbox.New(sandbox.Config{Dir: dir})
//	go m.Run(ctx, nil)
//	inst, err := m.Create(ctx, sandbox.Spec{Containers: []sandbox.Container{{
//		Name: "app", Lowers: []string{"/var/lib/rootfs"}, Args: []string{"/hello"},
//		Readiness: &sandbox.Probe{TCP: &sandbox.TCPProbe{Port: 8080}},
//	}}})
//	err = inst.Start(ctx)
//	err = inst.WaitReady(ctx)
//	conn, err := inst.Dial(ctx, 8080)
package sandbox
