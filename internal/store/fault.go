package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Reason is why a store cannot go on, from a closed list.
type Reason string

// The reasons of a Fault.
const (
	// ReasonInUse: another process has the folder.
	ReasonInUse Reason = "InUse"
	// ReasonDiskFull: the file system has no room for the log or the database.
	ReasonDiskFull Reason = "DiskFull"
	// ReasonDamaged: the log or the database does not read back as it was written.
	ReasonDamaged Reason = "Damaged"
	// ReasonPermission: the folder cannot be read or written by this user.
	ReasonPermission Reason = "Permission"
	// ReasonInternal: anything else.
	ReasonInternal Reason = "Internal"
)

// Fault is the end of a store: what happened, where, and what to try.
type Fault struct {
	// Reason is from the closed list above.
	Reason Reason
	// Dir is the store's folder.
	Dir string
	// Err is the cause.
	Err error
}

// Error says what happened and where, in one line.
func (f *Fault) Error() string {
	what := map[Reason]string{
		ReasonInUse:      "is used by another process",
		ReasonDiskFull:   "has no disk space left",
		ReasonDamaged:    "is damaged",
		ReasonPermission: "cannot be read or written",
		ReasonInternal:   "stopped",
	}[f.Reason]
	return fmt.Sprintf("store: %s %s: %v", f.Dir, what, f.Err)
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Try says what the reader of the error can do.
func (f *Fault) Try() string {
	switch f.Reason {
	case ReasonInUse:
		return "stop the other process, or choose another folder with --home"
	case ReasonDiskFull:
		return "free space on the file system of " + f.Dir + " and start again; nothing that was acknowledged is lost"
	case ReasonDamaged:
		return "move " + f.Dir + " away and restore the last backup with: fairlead restore FILE"
	case ReasonPermission:
		return "give this user the folder " + f.Dir
	}
	return "start again; if it happens once more, report it with the log"
}

// fault sorts an error into the closed list; a Fault stays what it is.
func (s *Store) fault(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return &Fault{Reason: reasonOf(err), Dir: s.cfg.Dir, Err: err}
}

// damageWords are parts of the texts with which etcd and bbolt report data that does not read back.
var damageWords = []string{"crc mismatch", "cannot be repaired", "invalid database", "checksum error", "version mismatch",
	"file corrupt", "corrupt", "unexpected EOF", "slice bounds out of range", "found invalid", "wal: max entry size", "cannot parse",
	"illegal tag", "wrong wireType", "proto:", "file size too small", "failed to recover v3 backend", "snap: "}

func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), strings.Contains(err.Error(), "no space left"):
		return ReasonDiskFull
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return ReasonPermission
	}
	for _, word := range damageWords {
		if strings.Contains(err.Error(), word) {
			return ReasonDamaged
		}
	}
	return ReasonInternal
}

// exists says whether a store was ever opened in dir.
func exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "etcd", "member"))
	return err == nil
}
