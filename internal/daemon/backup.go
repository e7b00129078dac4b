package daemon

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/fairlead-dev/fairlead/internal/store"
)

// storeFolder is the folder of the object store below the home folder.
const storeFolder = "store"

// Backup writes a snapshot of the object store of the daemon that is running on the settings' home folder, and gives
// its size in bytes.
func Backup(ctx context.Context, s *Settings, w io.Writer) (int64, error) {
	return store.Snapshot(ctx, filepath.Join(s.Home, storeFolder), w)
}

// Restore makes the object store from a file that Backup wrote. It refuses to overwrite a store, and to run beside a
// daemon.
func Restore(s *Settings, file string) error {
	if err := os.MkdirAll(s.Home, 0o700); err != nil {
		return advise(err, "name a folder you may write to with --home")
	}
	lock, err := lockHome(s.Home)
	if err != nil {
		return err
	}
	defer lock.release()
	return store.Restore(filepath.Join(s.Home, storeFolder), file)
}
