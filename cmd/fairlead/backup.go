package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

func newBackupCommand(term *terminal) *cobra.Command {
	settings := daemon.NewSettings()
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a snapshot of the object store to a new file",
		Long: "Backup writes a consistent snapshot of the running daemon's object store. It holds every object of the\n" +
			"API, Secrets included, so the file can be read by its owner only. An existing file is not overwritten.",
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := settings.Resolve(cmd.Flags()); err != nil {
				return usageError{err}
			}
			n, err := backup(cmd.Context(), settings, args[0])
			if err != nil {
				return err
			}
			term.note("Wrote %d bytes to %s", n, args[0])
			return nil
		},
	}
	settings.AddFlags(cmd.Flags())
	return cmd
}

// backup writes the snapshot aside and links it to its name only when it is whole and on disk.
func backup(ctx context.Context, settings *daemon.Settings, path string) (int64, error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return 0, fmt.Errorf("backup: %w", err)
		}
		return 0, withTry(fmt.Errorf("backup: %s exists and is not overwritten", path), "another file name")
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".fairlead-backup-*")
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) { // of the name that was made up nobody has heard
			err = at.Err
		}
		return 0, withTry(fmt.Errorf("backup: write into the folder %s: %w", filepath.Dir(path), err), "a file in a folder that is there and that you may write to")
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	defer temporary.Close()
	n, err := daemon.Backup(ctx, settings, temporary)
	if err != nil {
		return 0, err
	}
	if err := temporary.Sync(); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	// A link, unlike a rename, does not replace a file that came in between.
	if err := os.Link(temporary.Name(), path); err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	return n, nil
}

func newRestoreCommand(term *terminal) *cobra.Command {
	settings := daemon.NewSettings()
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make an object store from a snapshot",
		Long:  "Restore makes the object store of a home folder from a backup. It refuses to overwrite a store that is there.",
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := settings.Resolve(cmd.Flags()); err != nil {
				return usageError{err}
			}
			if err := daemon.Restore(settings, args[0]); err != nil {
				return err
			}
			term.note("Restored %s; start the daemon with: fairlead serve", args[0])
			return nil
		},
	}
	settings.AddFlags(cmd.Flags())
	return cmd
}
