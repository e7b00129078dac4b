package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// RootFS is an image's root file system as overlayfs takes it. Close it when nothing mounts it any more.
type RootFS struct {
	// Lower are the read-only lower directories, uppermost first: mount with lowerdir=strings.Join(Lower, ":").
	Lower []string
	// UserXattr says that the directories were unpacked without privileges, so the mount needs the option userxattr.
	UserXattr bool
	// Image is the image they were unpacked from.
	Image *Image

	release func()
	once    sync.Once
}

// Close gives the directories back. They stay on disk for the next instance until they are collected.
func (r *RootFS) Close() error {
	r.once.Do(r.release)
	return nil
}

// rootfsTable knows the unpacked layers.
type rootfsTable struct {
	mu     sync.Mutex // guards layers and images
	layers map[digest.Digest]*unpackedLayer
	images map[digest.Digest]int // open root file systems by the digest they were asked for
	dir    string
	bootID string
	// unsynced tells Run that there are layers to sync.
	unsynced chan struct{}
}

// unpackedLayer is one layer on disk, or on its way there.
type unpackedLayer struct {
	refs  int
	ready chan struct{} // closed when err is set or the directory is there
	err   error
	state layerState
	used  time.Time
}

// layerState is kept in <name>.json beside each unpacked layer.
type layerState struct {
	DiffID  digest.Digest `json:"diffID"`
	Bytes   int64         `json:"bytes"`
	Entries int           `json:"entries"`
	// BootID is the boot during which the layer was unpacked. Until Synced, the layer is trusted only within it.
	BootID string `json:"bootID"`
	Synced bool   `json:"synced"`
}

// folder is short, because the kernel takes at most a page of mount options.
func (t *rootfsTable) folder(id digest.Digest) string {
	return filepath.Join(t.dir, id.Encoded()[:32])
}

const emptyLayer = "empty" // lower directory of an image without layers

// openRootFS finds the layers on disk and removes what was not finished, or not synced before a power cut.
func (s *Store) openRootFS() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("unpacked images: %w", err)
	}
	t := &s.rootfs
	t.dir, t.bootID = filepath.Join(s.layout.dir, rootfsFolder), strings.TrimSpace(string(boot))
	t.unsynced = make(chan struct{}, 1)
	t.layers, t.images = map[digest.Digest]*unpackedLayer{}, map[digest.Digest]int{}
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("unpacked images: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() {
			if base, ok := strings.CutSuffix(name, ".json"); ok {
				if _, err := os.Stat(filepath.Join(t.dir, base)); err == nil {
					continue
				}
			}
			if err := os.Remove(filepath.Join(t.dir, name)); err != nil {
				return fmt.Errorf("unpacked images: %w", err)
			}
			continue
		}
		state, err := t.readState(name)
		if name == emptyLayer {
			continue
		}
		if err != nil || !state.Synced && state.BootID != t.bootID {
			if err := removeTree(filepath.Join(t.dir, name)); err != nil {
				return fmt.Errorf("unpacked images: %w", err)
			}
			continue
		}
		done := make(chan struct{})
		close(done)
		t.layers[state.DiffID] = &unpackedLayer{ready: done, state: state, used: s.now()}
	}
	if err := os.Mkdir(filepath.Join(t.dir, emptyLayer), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("unpacked images: %w", err)
	}
	return nil
}

func (t *rootfsTable) readState(name string) (layerState, error) {
	var state layerState
	data, err := os.ReadFile(filepath.Join(t.dir, name+".json"))
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return state, err
	}
	if err := state.DiffID.Validate(); err != nil {
		return state, err
	}
	if filepath.Base(t.folder(state.DiffID)) != name {
		return state, fmt.Errorf("%s is not the folder of %s", name, state.DiffID)
	}
	return state, nil
}

// RootFS unpacks the layers of an image that are not on disk yet, and holds them until Close.
func (s *Store) RootFS(ctx context.Context, d digest.Digest) (*RootFS, error) {
	image, err := s.Image(ctx, d)
	if err != nil {
		return nil, err
	}
	root := &RootFS{Image: image, UserXattr: !machineRoot()}
	var held []digest.Digest
	s.rootfs.holdImages(1, d, image.Digest)
	root.release = func() {
		s.releaseLayers(held)
		s.rootfs.holdImages(-1, d, image.Digest)
	}
	for _, l := range slices.Backward(image.Layers) {
		if err := s.holdLayer(ctx, l); err != nil {
			root.Close()
			return nil, fmt.Errorf("unpack image %s: layer %s: %w", d, l.Digest, err)
		}
		held = append(held, l.DiffID)
		root.Lower = append(root.Lower, s.rootfs.folder(l.DiffID))
	}
	if len(root.Lower) == 0 {
		root.Lower = []string{filepath.Join(s.rootfs.dir, emptyLayer)}
	}
	return root, nil
}

// holdImages counts users of manifests, so that collection leaves them.
func (t *rootfsTable) holdImages(by int, ds ...digest.Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range ds {
		if t.images[d] += by; t.images[d] == 0 {
			delete(t.images, d)
		}
	}
}

func (s *Store) releaseLayers(ids []digest.Digest) {
	t := &s.rootfs
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		l := t.layers[id]
		l.refs--
		l.used = s.now()
	}
}

// holdLayer counts one more user of a layer. The first one unpacks it, the others wait for that.
func (s *Store) holdLayer(ctx context.Context, l Layer) error {
	t := &s.rootfs
	for {
		t.mu.Lock()
		u := t.layers[l.DiffID]
		if u == nil {
			u = &unpackedLayer{ready: make(chan struct{}), refs: 1}
			t.layers[l.DiffID] = u
			t.mu.Unlock()
			return s.unpackHeld(ctx, l, u)
		}
		u.refs++
		t.mu.Unlock()
		select {
		case <-u.ready:
		case <-ctx.Done():
			s.releaseLayers([]digest.Digest{l.DiffID})
			return context.Cause(ctx)
		}
		if u.err == nil {
			return nil
		}
		// The one who unpacked was cancelled or refused; u is out of the table, so try ourselves.
		if !errors.Is(u.err, context.Canceled) && !errors.Is(u.err, context.DeadlineExceeded) {
			return u.err
		}
	}
}

func (s *Store) unpackHeld(ctx context.Context, l Layer, u *unpackedLayer) error {
	state, err := s.unpackLayer(ctx, l)
	t := &s.rootfs
	t.mu.Lock()
	u.state, u.err = state, err
	if err != nil {
		delete(t.layers, l.DiffID)
	}
	t.mu.Unlock()
	close(u.ready)
	if err == nil {
		select {
		case t.unsynced <- struct{}{}:
		default: // Run knows already
		}
	}
	return err
}

// syncLayers makes unpacked layers durable, after the fact: until then a power cut means unpacking again, and waiting
// for the disk would cost the first start more than that is worth.
func (s *Store) syncLayers() error {
	t := &s.rootfs
	t.mu.Lock()
	var states []layerState
	for _, l := range t.layers {
		if !l.state.Synced && l.state.DiffID != "" {
			states = append(states, l.state)
		}
	}
	t.mu.Unlock()
	if len(states) == 0 {
		return nil
	}
	dir, err := os.Open(t.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return err
	}
	for _, state := range states {
		t.mu.Lock()
		l := t.layers[state.DiffID]
		var err error
		if l != nil { // else collected in between
			state.Synced, l.state.Synced = true, true
			err = s.writeLayerState(state)
		}
		t.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// unpackLayer puts a layer on disk: beside its place first, then renamed.
func (s *Store) unpackLayer(ctx context.Context, l Layer) (layerState, error) {
	t := &s.rootfs
	temp, err := os.MkdirTemp(filepath.Join(s.layout.dir, uploadsFolder), "layer-*")
	if err != nil {
		return layerState{}, err
	}
	defer removeTree(temp) //nolint:errcheck // gone already when all went well; else cleared at the next start
	f, err := os.Open(s.layout.blobPath(l.Digest))
	if err != nil {
		return layerState{}, notFound(l.Digest, err)
	}
	defer f.Close()
	content := filepath.Join(temp, "root")
	if err := os.Mkdir(content, 0o755); err != nil {
		return layerState{}, err
	}
	stats, err := unpackBlob(ctx, content, f, l.DiffID, s.conf.Limits, s.log)
	if err != nil {
		if _, _, blobErr := s.blobs.open(l.Digest); blobErr != nil {
			return layerState{}, blobErr // the archive was bad because the disk was
		}
		return layerState{}, err
	}
	state := layerState{DiffID: l.DiffID, Bytes: stats.bytes, Entries: stats.entries, BootID: t.bootID}
	if err := s.writeLayerState(state); err != nil {
		return layerState{}, err
	}
	if err := os.Rename(content, t.folder(l.DiffID)); err != nil {
		return layerState{}, err
	}
	s.met.unpackLayers.Inc()
	return state, nil
}

func (s *Store) writeLayerState(state layerState) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return s.layout.writeFile(filepath.Join(rootfsFolder, filepath.Base(s.rootfs.folder(state.DiffID))+".json"), data)
}
