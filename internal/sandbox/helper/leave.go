package helper

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/fairlead-dev/fairlead/internal/sandbox/cgroup"
)

// leave removes the control groups of a helper that ends by itself: with no daemon there is nobody else who would. Its own group
// goes too, so the helper returns to where it was started first.
func (s *server) leave() error {
	if s.tree.Mode() == cgroup.None {
		return nil
	}
	s.staying.Lock()
	defer s.staying.Unlock()
	if err := s.tree.Return(s.origin); err != nil {
		return err
	}
	return errors.Join(s.tree.Remove(s.opts.CgroupParent, 5*time.Second), s.tree.Prune(filepath.Dir(s.opts.CgroupParent)))
}
