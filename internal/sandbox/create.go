package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
	"github.com/fairlead-dev/fairlead/internal/sandbox/netns"
)

// Create makes a spare. Everything that can be prepared is; user code runs only after Start. A failed Create leaves nothing. Errors:
// ErrSpec, ErrExists, ErrRuntimeMissing, ErrClosed, or what the machine answered.
func (m *Manager) Create(ctx context.Context, spec Spec) (*Instance, error) {
	began := time.Now()
	spec, err := m.complete(spec)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	conn, err := m.reserve(spec.ID)
	if err != nil {
		return nil, fmt.Errorf("sandbox: creating instance %s: %w", spec.ID, err)
	}
	defer m.owners.Done()
	i, err := m.build(ctx, conn, spec)
	if err != nil {
		m.unreserve(spec.ID)
		return nil, fmt.Errorf("sandbox: creating instance %s: %w", spec.ID, err)
	}
	since(m.metrics.create, began)
	return i, nil
}

// complete checks a specification and fills in what it leaves out.
func (m *Manager) complete(spec Spec) (Spec, error) {
	if spec.ID == "" {
		spec.ID = "i-" + strings.ToLower(rand.Text()[:12])
	}
	if spec.Hostname == "" {
		spec.Hostname = spec.ID
	}
	if spec.Runtime == "" {
		spec.Runtime = m.drivers.preferred
	}
	if spec.Restart == "" {
		spec.Restart = RestartAlways
	}
	if spec.Grace == 0 {
		spec.Grace = 30 * time.Second
	}
	if spec.UserNamespace == "" {
		spec.UserNamespace = m.cfg.UserNamespace
	}
	if spec.WritableBytes == 0 {
		spec.WritableBytes = m.cfg.WritableBytes
	}
	if err := spec.check(); err != nil {
		return spec, fmt.Errorf("%w: %w", ErrSpec, err)
	}
	_, err := m.drivers.binary(spec.Runtime)
	return spec, err
}

// reserve takes an ID and counts the creation among what Run waits for.
func (m *Manager) reserve(id string) (*helper.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.helper == nil {
		return nil, ErrClosed
	}
	if _, taken := m.owned[id]; taken {
		return nil, ErrExists
	}
	m.owned[id] = nil
	m.owners.Add(1)
	return m.helper, nil
}

func (m *Manager) unreserve(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.owned, id)
}

// record is what is on disk about an instance.
type record struct {
	Spec  Spec   `json:"spec"`
	State State  `json:"state"`
	View  string `json:"view"` // helper.Opened.View
}

func (m *Manager) build(ctx context.Context, conn *helper.Client, spec Spec) (_ *Instance, err error) {
	dir := filepath.Join(m.cfg.Dir, "instances", spec.ID)
	defer func() {
		if err == nil {
			return
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
		defer cancel()
		err = errors.Join(err, conn.Close(undo, spec.ID), m.removeCgroup(spec.ID), os.RemoveAll(dir), os.RemoveAll(m.LogDir(spec.ID)))
	}()
	memory, err := m.prepareFiles(dir, spec)
	if err != nil {
		return nil, err
	}
	seen, files, err := m.openInstance(ctx, conn, spec, helper.OpenArgs{
		Instance: spec.ID, Dir: dir, LogDir: m.LogDir(spec.ID), WritableBytes: spec.WritableBytes, Memory: memory,
		Moves: spec.Runtime != "process", // that one moves a thread, which waits for nothing
	})
	if err != nil {
		return nil, err
	}
	i, l, err := m.newInstance(conn, spec, seen, files)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			i.sockets.Close()
		}
	}()
	l.state = State{Phase: PhaseCreated, Created: time.Now(), Users: seen.users, Isolation: spec.isolation()}
	for _, c := range l.all() {
		if err := l.create(ctx, c); err != nil {
			return nil, fmt.Errorf("container %s: %w", c.spec.Name, err)
		}
	}
	l.publish()
	m.run(i, l)
	return i, nil
}

// newInstance makes the value of an instance whose network namespace is open.
func (m *Manager) newInstance(conn *helper.Client, spec Spec, seen view, files []*os.File) (*Instance, *life, error) {
	sockets, err := netns.FromFiles(files)
	if err != nil {
		return nil, nil, err
	}
	n := len(spec.Containers) + len(spec.Init)
	i := &Instance{
		m: m, id: spec.ID, spec: spec, dir: filepath.Join(m.cfg.Dir, "instances", spec.ID), sockets: sockets, view: seen,
		mail: make(chan func(*life)), exits: make(chan helper.Event, 2*n), results: make(chan probeResult), done: make(chan struct{}),
	}
	m.mu.Lock()
	m.owned[i.id] = i
	m.mu.Unlock()
	return i, newLife(i, conn), nil
}

// run makes an instance known and starts its owner.
func (m *Manager) run(i *Instance, l *life) {
	m.mu.Lock()
	m.instances[i.id] = i
	lost, closing := m.lost, m.closing
	m.mu.Unlock()
	m.owners.Add(1)
	go func() {
		defer m.owners.Done()
		l.run(closing, lost)
	}()
}

// removeCgroup removes the group of an instance.
func (m *Manager) removeCgroup(id string) error {
	return m.tree.Remove(filepath.Join(m.cfg.CgroupParent, id), 5*time.Second)
}

func (l *life) saveRecord() error {
	data, err := json.Marshal(record{Spec: l.i.spec, State: l.state, View: l.i.view.dir})
	if err != nil {
		return err
	}
	path := filepath.Join(l.i.dir, "record.json")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
