package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Of instances that are gone, the logs of so many and of so many bytes together are kept, the youngest.
const (
	keptLogs     = 256
	keptLogBytes = 2 << 30
)

// endedFile is beside the segments of the log of an instance that is gone.
const endedFile = "ended.json"

// Ended is an instance that is gone and whose log is kept in Manager.LogDir.
type Ended struct {
	ID     string            `json:"id"`
	Labels map[string]string `json:"labels,omitempty"`
	// State is the last one.
	State State     `json:"state"`
	At    time.Time `json:"at"`

	bytes int64 // of its log
}

// endedLogs are the logs of instances that are gone, oldest first.
type endedLogs struct {
	dir string // one folder for each instance

	mu    sync.Mutex // guards the fields below
	all   []Ended
	bytes int64
}

// Ended gives the instances that are gone and whose logs are kept, oldest first. An instance that was never started leaves nothing.
func (m *Manager) Ended() []Ended {
	m.past.mu.Lock()
	defer m.past.mu.Unlock()
	return slices.Clone(m.past.all)
}

// end notes that an instance is gone, whose log stays if its program was ever started or wrote something.
func (e *endedLogs) end(one Ended) error {
	dir := filepath.Join(e.dir, one.ID)
	size, err := folderBytes(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was refused before it had a log
	}
	if err != nil {
		return err
	}
	if size == 0 && one.State.Started.IsZero() {
		return os.RemoveAll(dir)
	}
	data, err := json.Marshal(one)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, endedFile)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	one.bytes = size + int64(len(data))
	return e.add(one)
}

// add keeps one more, and removes the oldest beyond the limits.
func (e *endedLogs) add(one Ended) error {
	e.mu.Lock()
	e.all = append(e.all, one)
	slices.SortStableFunc(e.all, func(a, b Ended) int { return a.At.Compare(b.At) })
	e.bytes += one.bytes
	var over []Ended
	for len(e.all) > keptLogs || e.bytes > keptLogBytes && len(e.all) > 1 {
		over = append(over, e.all[0])
		e.bytes -= e.all[0].bytes
		e.all = e.all[1:]
	}
	e.mu.Unlock()
	var all []error
	for _, o := range over {
		all = append(all, os.RemoveAll(filepath.Join(e.dir, o.ID)))
	}
	return errors.Join(all...)
}

// forgotten notes the end of an instance that went with its daemon or its helper, of which only the record in its folder is left.
func (e *endedLogs) forgotten(instanceDir string) error {
	if _, err := os.Stat(filepath.Join(e.dir, filepath.Base(instanceDir), endedFile)); err == nil {
		return nil // told in time
	}
	var rec record
	data, err := os.ReadFile(filepath.Join(instanceDir, "record.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never stood
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return fmt.Errorf("reading the record: %w", err)
	}
	state := rec.State
	state.Phase, state.Ready, state.Reason, state.Message = PhaseGone, false, ReasonHelperLost, "the sandbox helper ended, and every instance with it"
	at, err := newest(filepath.Join(e.dir, rec.Spec.ID))
	if err != nil {
		return err
	}
	for _, list := range [][]ContainerStatus{state.Init, state.Containers} {
		for i := range list {
			if c := &list[i]; c.Phase == ContainerRunning {
				c.Exit = &Exit{Code: 137, Signal: int(unix.SIGKILL), Reason: ReasonError, Started: c.StartedAt, Ended: at}
			}
			list[i].Phase, list[i].Ready = ContainerExited, false
		}
	}
	return e.end(Ended{ID: rec.Spec.ID, Labels: rec.Spec.Labels, State: state, At: at})
}

// load reads what earlier daemons left. Folders of instances that are used are left alone; those that nothing is known of are removed.
func (e *endedLogs) load(used func(id string) bool) error {
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return err
	}
	e.mu.Lock()
	known := map[string]bool{}
	for _, one := range e.all {
		known[one.ID] = true
	}
	e.mu.Unlock()
	var all []error
	for _, entry := range entries {
		if known[entry.Name()] || used(entry.Name()) {
			continue
		}
		dir := filepath.Join(e.dir, entry.Name())
		var one Ended
		data, err := os.ReadFile(filepath.Join(dir, endedFile))
		if err == nil {
			err = json.Unmarshal(data, &one)
		}
		if err != nil || one.ID != entry.Name() {
			all = append(all, os.RemoveAll(dir))
			continue
		}
		if one.bytes, err = folderBytes(dir); err == nil {
			err = e.add(one)
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

// folderBytes adds up the sizes of the files in a folder.
func folderBytes(dir string) (int64, error) {
	var sum int64
	err := eachFile(dir, func(info fs.FileInfo) { sum += info.Size() })
	return sum, err
}

// newest is when a file in a folder was last changed; now if there is none.
func newest(dir string) (time.Time, error) {
	var at time.Time
	err := eachFile(dir, func(info fs.FileInfo) {
		if info.ModTime().After(at) {
			at = info.ModTime()
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if at.IsZero() {
		at = time.Now()
	}
	return at, err
}

func eachFile(dir string, see func(fs.FileInfo)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in between
		}
		if err != nil {
			return err
		}
		see(info)
	}
	return nil
}
