package daemon

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// InstallGVisor is a command that installs what runtimeClassName gvisor needs.
const InstallGVisor = sandbox.InstallGVisor

// Verdict of a finding, from good to bad.
const (
	VerdictOK      = "ok"
	VerdictWarning = "warning"
	VerdictProblem = "problem"
)

// Finding is what Doctor says of one thing it looked at.
type Finding struct {
	Check   string `json:"check"`
	Verdict string `json:"verdict"`
	Message string `json:"message"`
	// Try is what to do about it; of what is ok, how to have more.
	Try string `json:"try,omitempty"`
}

func ok(format string, args ...any) Finding {
	return Finding{Verdict: VerdictOK, Message: fmt.Sprintf(format, args...)}
}

func warning(try, format string, args ...any) Finding {
	return Finding{Verdict: VerdictWarning, Message: fmt.Sprintf(format, args...), Try: try}
}

func problem(try, format string, args ...any) Finding {
	return Finding{Verdict: VerdictProblem, Message: fmt.Sprintf(format, args...), Try: try}
}

// host is the machine as Doctor sees it; tests put a folder of their own in the place of the root.
type host struct {
	root     string
	lookPath func(string) (string, error)
	uid      int
	// delegated: an ordinary user has control groups of its own here
	delegated bool
}

func thisHost() host {
	return host{root: "/", lookPath: sandbox.LookPath, uid: os.Geteuid(), delegated: os.Geteuid() != 0 && sandbox.DelegatedCgroups()}
}

func (h host) read(path string) (string, error) {
	data, err := os.ReadFile(filepath.Join(h.root, path))
	return strings.TrimSpace(string(data)), err
}

func (h host) exists(path string) bool {
	_, err := os.Stat(filepath.Join(h.root, path))
	return err == nil
}

// Doctor looks at everything on this machine that a daemon with these settings needs. Each finding that is not ok
// says what to try.
func Doctor(ctx context.Context, s *Settings) []Finding {
	h := thisHost()
	checks := []struct {
		name string
		look func() []Finding
	}{
		{"kernel", h.checkKernel},
		{"cgroups", h.checkCgroups},
		{"runtime", func() []Finding { return h.checkRuntimes(ctx, s.Runtime) }},
		{"overlay", h.checkOverlay},
		{"network", h.checkNetwork},
		{"user namespaces", func() []Finding { return h.checkUserNamespaces(s.UserNamespaces) }},
		{"rootless", h.checkRootless},
		{"files", func() []Finding { return checkFiles(s) }},
		{"disk", func() []Finding { return checkDisk(s.Home) }},
		{"ports", func() []Finding { return checkPorts(ctx, s) }},
	}
	var findings []Finding
	for _, check := range checks {
		for _, f := range check.look() {
			f.Check = check.name
			findings = append(findings, f)
		}
	}
	return findings
}

func (h host) checkKernel() []Finding {
	release, err := h.read("proc/sys/kernel/osrelease")
	if err != nil {
		return []Finding{problem("run Fairlead on Linux", "the kernel's release cannot be read: %v", err)}
	}
	major, minor, valid := kernelVersion(release)
	switch {
	case !valid:
		return []Finding{warning("Linux 5.4 or newer is expected", "release %q is not understood", release)}
	case major < 5 || major == 5 && minor < 4:
		return []Finding{problem("upgrade to Linux 5.4 or newer", "Linux %s is too old", release)}
	}
	return []Finding{ok("Linux %s", release)}
}

func kernelVersion(release string) (major, minor int, valid bool) {
	first, rest, found := strings.Cut(release, ".")
	if !found {
		return 0, 0, false
	}
	digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(rest)
	}
	high, errMajor := strconv.ParseUint(first, 10, 31)
	low, errMinor := strconv.ParseUint(rest[:digits], 10, 31)
	if errMajor != nil || errMinor != nil {
		return 0, 0, false
	}
	return int(high), int(low), true
}

func (h host) checkCgroups() []Finding {
	if h.uid != 0 && h.delegated {
		return []Finding{ok("control groups with cpu, memory and pids are delegated to this user")}
	}
	if h.uid != 0 {
		return []Finding{warning("systemd-run --user --scope -p Delegate=yes fairlead serve, or sudo fairlead serve, where limits matter",
			"an ordinary user without control groups of its own: memory, CPU and process limits are not enforced, and instances are frozen by SIGSTOP, which their programs can notice")}
	}
	if h.exists("sys/fs/cgroup/cgroup.controllers") {
		controllers, err := h.read("sys/fs/cgroup/cgroup.controllers")
		if err != nil {
			return []Finding{problem("mount cgroup2 on /sys/fs/cgroup", "cgroup v2: %v", err)}
		}
		if missing := missingWords(controllers, "cpu", "memory", "pids"); len(missing) > 0 {
			return []Finding{warning("enable them for this unit (Delegate=yes) or on the kernel command line",
				"cgroup v2 without the controllers %s: those limits cannot be held", strings.Join(missing, ", "))}
		}
		return []Finding{ok("cgroup v2 with cpu, memory and pids")}
	}
	var missing []string
	for _, controller := range []string{"cpu", "memory", "pids", "freezer"} {
		if !h.exists("sys/fs/cgroup/" + controller) {
			missing = append(missing, controller)
		}
	}
	layout := "v1"
	if h.exists("sys/fs/cgroup/unified") {
		layout = "hybrid"
	}
	if len(missing) > 0 {
		return []Finding{warning("mount them below /sys/fs/cgroup", "cgroup %s without %s: those limits cannot be held", layout, strings.Join(missing, ", "))}
	}
	return []Finding{ok("cgroup %s with cpu, memory, pids and freezer", layout)}
}

func missingWords(text string, words ...string) (missing []string) {
	have := map[string]bool{}
	for _, w := range strings.Fields(text) {
		have[w] = true
	}
	for _, w := range words {
		if !have[w] {
			missing = append(missing, w)
		}
	}
	return missing
}

func (h host) checkRuntimes(ctx context.Context, wanted string) []Finding {
	if wanted == "process" {
		return []Finding{warning("choose another driver with --runtime", "%s", sandbox.ProcessDriver())}
	}
	var findings []Finding
	found := map[string]bool{}
	for _, name := range []string{"crun", "runc", "runsc"} {
		path, err := h.lookPath(name)
		if err != nil {
			continue
		}
		found[name] = true
		findings = append(findings, ok("%s (%s)", runtimeVersion(ctx, name, path), path))
	}
	install := "apt-get install crun"
	if wanted != "auto" && !found[wanted] {
		return append(findings, problem("install "+wanted+", or --runtime auto", "%s was asked for and is not on the PATH", wanted))
	}
	switch {
	case !found["crun"] && !found["runc"]:
		findings = append(findings, problem(install+", or accept no isolation with --runtime process", "no OCI runtime is on the PATH: nothing can be isolated"))
	case !found["crun"]:
		findings = append(findings, warning(install, "crun is not on the PATH; runc takes its place and wakes an instance about 2 ms later"))
	}
	return append(findings, h.checkGVisor()...)
}

// checkGVisor looks for what only services with runtimeClassName gvisor need.
func (h host) checkGVisor() []Finding {
	path, err := h.lookPath("runsc")
	if err != nil {
		missing := ok("runsc is not installed: runtimeClassName gvisor will be refused")
		missing.Try = "for gVisor, with a GOBIN that is on the daemon's PATH: " + sandbox.InstallGVisor
		return []Finding{missing}
	}
	program, err := elf.Open(path)
	if err != nil {
		return nil // its version said more
	}
	defer program.Close()
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return []Finding{warning(sandbox.InstallGVisor, "%s needs libraries of the machine, which it does not find where it runs: instances of gVisor do not start", path)}
		}
	}
	return nil
}

func runtimeVersion(ctx context.Context, name, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return fmt.Sprintf("%s of unknown version", name)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

func (h host) checkOverlay() []Finding {
	filesystems, err := h.read("proc/filesystems")
	if err != nil {
		return []Finding{warning("mount /proc", "the file systems of the kernel cannot be read: %v", err)}
	}
	if len(missingWords(filesystems, "overlay")) > 0 {
		return []Finding{problem("modprobe overlay", "the kernel offers no overlay file system: images cannot be mounted")}
	}
	return []Finding{ok("overlay file system")}
}

func (h host) checkNetwork() []Finding {
	if !h.exists("proc/self/ns/net") {
		return []Finding{problem("use a kernel with CONFIG_NET_NS", "the kernel has no network namespaces")}
	}
	return []Finding{ok("network namespaces")}
}

func (h host) checkUserNamespaces(wanted string) []Finding {
	if wanted == string(sandbox.UsersOff) {
		return []Finding{warning("--userns auto", "user namespaces are turned off: a root in an instance is the root of the machine, less its capabilities")}
	}
	limit, err := h.read("proc/sys/user/max_user_namespaces")
	if errors.Is(err, fs.ErrNotExist) {
		return []Finding{warning("use a kernel with CONFIG_USER_NS", "the kernel has no user namespaces: a root in an instance is the root of the machine, less its capabilities")}
	}
	if err != nil {
		return []Finding{warning("mount /proc", "%v", err)}
	}
	if limit == "0" {
		return []Finding{warning("sysctl user.max_user_namespaces=15000", "user namespaces are switched off")}
	}
	if release, err := h.read("proc/sys/kernel/osrelease"); err == nil {
		if major, minor, valid := kernelVersion(release); valid && (major < 5 || major == 5 && minor < 19) {
			return []Finding{warning("use Linux 5.19 or newer", "Linux %s cannot show layers with other users: a root in an instance is the root of the machine, less its capabilities", release)}
		}
	}
	return []Finding{ok("user namespaces, at most %s", limit)}
}

// checkRootless looks at what the daemon of an ordinary user needs besides.
func (h host) checkRootless() []Finding {
	if h.uid == 0 {
		return nil
	}
	if err := sandbox.RootlessMissing(); err != nil {
		return []Finding{problem("docs/howto/rootless.md, or sudo fairlead serve", "an ordinary user cannot run instances here: %v", err)}
	}
	return []Finding{
		ok("an ordinary user can run instances"),
		warning("sudo fairlead serve, for instances with users of their own", "an ordinary user: all instances share one user namespace"),
	}
}

// Below leastFree bytes a problem is reported, below easyFree a warning.
const (
	leastFree = 1 << 30
	easyFree  = 5 << 30
)

func checkDisk(home string) []Finding {
	dir := home
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return []Finding{problem("name another folder with --home", "%s: %v", dir, err)}
	}
	free := stat.Bavail * uint64(stat.Bsize)
	text := fmt.Sprintf("%.1f GiB free for %s", float64(free)/(1<<30), home)
	switch {
	case free < leastFree:
		return []Finding{problem("free some space, or name another folder with --home", "%s: too little", text)}
	case free < easyFree:
		return []Finding{warning("free some space, or name another folder with --home", "%s", text)}
	}
	return []Finding{ok("%s", text)}
}
