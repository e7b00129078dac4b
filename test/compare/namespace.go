package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// The program runs itself twice more: as process 1 of new namespaces, which mounts and reaps, and as its child, which measures.
const (
	stageVariable = "FAIRLEAD_COMPARE_STAGE"
	workVariable  = "FAIRLEAD_COMPARE_WORK"
	stageInit     = "init"
	stageMeasure  = "measure"
)

// isolate runs this program as the first process of namespaces of its own, and removes what the tools left in control groups.
func isolate(ctx context.Context, work string) error {
	before := controlGroups()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageVariable+"="+stageInit, workVariable+"="+work)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	for group := range controlGroups() {
		if !before[group] {
			removeGroup(group)
		}
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode()) // it has said why
	}
	return err
}

// controlGroups are the folders that the tools make at the top of each hierarchy.
func controlGroups() map[string]bool {
	groups := map[string]bool{}
	for _, name := range []string{"docker", "libpod_parent", "buildkit"} {
		for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
			found, _ := filepath.Glob(pattern) //nolint:errcheck // the patterns are well formed
			for _, group := range found {
				groups[group] = true
			}
		}
	}
	return groups
}

// removeGroup removes a control group and those below. One that still has processes stays.
func removeGroup(group string) {
	entries, err := os.ReadDir(group)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if entry.IsDir() {
			removeGroup(filepath.Join(group, entry.Name()))
		}
	}
	_ = os.Remove(group) // in use by somebody else
}

// initStage mounts what the tools shall find, starts the measurement, and reaps whatever loses its parent until that ends.
func initStage(ctx context.Context) error {
	if err := private(ctx, os.Getenv(workVariable)); err != nil {
		return err
	}
	files := []*os.File{nil, os.Stdout, os.Stderr}
	// Debian's programs before others of the same name.
	err := errors.Join(os.Setenv(stageVariable, stageMeasure), os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH")))
	if err != nil {
		return err
	}
	child, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Env: os.Environ(), Files: files})
	if err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if pid == child.Pid {
			os.Exit(status.ExitStatus()) // with process 1 everything else in here ends
		}
	}
}

// private gives this mount namespace empty folders where the tools keep things, and a network with lo only.
func private(ctx context.Context, work string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.Mkdir("/run/lock", 0o1777); err != nil {
		return err
	}
	// crun refuses machines that mount version 2 control groups beside version 1; without that mount podman has its usual runtime.
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		if err := syscall.Unmount("/sys/fs/cgroup/unified", 0); err != nil {
			return fmt.Errorf("unmount version 2 control groups: %w", err)
		}
	}
	state := filepath.Join(work, "state")
	if err := os.RemoveAll(state); err != nil {
		return err
	}
	for _, path := range []string{"/var/lib/docker", "/var/lib/containers", "/var/tmp", "/etc/containers"} {
		if err := cover(ctx, path, filepath.Join(state, strings.ReplaceAll(path[1:], "/", "-"))); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("lo: %w: %s", err, out)
	}
	return nil
}

// cover puts an empty folder in place of one of the machine; of /etc, a copy.
func cover(ctx context.Context, path, with string) error {
	if _, err := os.Stat(path); err != nil {
		if strings.HasPrefix(path, "/etc/") {
			return nil
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(with, 0o755); err != nil {
		return err
	}
	if strings.HasPrefix(path, "/etc/") {
		if out, err := exec.CommandContext(ctx, "cp", "-a", path+"/.", with).CombinedOutput(); err != nil {
			return fmt.Errorf("copy %s: %w: %s", path, err, out)
		}
		if err := os.RemoveAll(filepath.Join(with, "networks")); err != nil {
			return err
		}
	}
	if err := syscall.Mount(with, path, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("cover %s: %w", path, err)
	}
	return nil
}
