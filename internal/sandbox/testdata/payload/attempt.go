package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

func size() string {
	var ws struct{ row, col, x, y uint16 }
	syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&ws)))
	return fmt.Sprintf("%dx%d", ws.col, ws.row)
}

// attempt tries one thing and says how it went: the result, or a line that begins with ERR.
func attempt(what string, args []string) string {
	out, err := try(what, args)
	if err != nil {
		return "ERR " + err.Error()
	}
	return out
}

func errnoOf(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

func try(what string, args []string) (string, error) {
	switch what {
	case "read":
		b, err := os.ReadFile(args[0])
		return string(b), err
	case "write":
		return "", os.WriteFile(args[0], []byte(args[1]), 0o644)
	case "append":
		f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		_, err = f.WriteString(args[1])
		return "", err
	case "fill":
		n, _ := strconv.Atoi(args[1])
		return "", os.WriteFile(args[0], make([]byte, n<<20), 0o644)
	case "stat":
		info, err := os.Stat(args[0])
		if err != nil {
			return "", err
		}
		st := info.Sys().(*syscall.Stat_t)
		return fmt.Sprintf("%s %d:%d", info.Mode(), st.Uid, st.Gid), nil
	case "list":
		e, err := os.ReadDir(args[0])
		var names []string
		for _, x := range e {
			names = append(names, x.Name())
		}
		sort.Strings(names)
		return strings.Join(names, " "), err
	case "mkdir":
		return "", os.Mkdir(args[0], 0o755)
	case "symlink":
		return "", os.Symlink(args[0], args[1])
	case "link":
		return filepath.EvalSymlinks(args[0])
	case "id":
		groups, err := os.Getgroups()
		return fmt.Sprint(os.Getuid(), " ", os.Getgid(), " ", groups), err
	case "euid":
		return fmt.Sprint("euid ", os.Geteuid()), nil
	case "env":
		return strings.Join(os.Environ(), "\n"), nil
	case "cwd":
		return os.Getwd()
	case "hostname":
		return os.Hostname()
	case "stdin":
		n, err := os.Stdin.Read(make([]byte, 1))
		return fmt.Sprint(n, " ", err), nil
	case "lookup":
		a, err := net.LookupHost(args[0])
		return strings.Join(a, " "), err
	case "dial", "talk":
		c, err := net.DialTimeout(args[0], args[1], 5*time.Second)
		if err != nil {
			return "", err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if len(args) > 2 {
			if _, err := c.Write([]byte(args[2])); err != nil {
				return "", err
			}
		}
		b := make([]byte, 4096)
		n, err := c.Read(b)
		return string(b[:n]), err
	case "mount":
		return "", syscall.Mount("none", args[0], args[1], 0, "")
	case "remount":
		return "", syscall.Mount("", args[0], "", syscall.MS_REMOUNT|syscall.MS_BIND, "")
	case "umount":
		return "", syscall.Unmount(args[0], syscall.MNT_DETACH)
	case "unshare":
		flags, _ := strconv.ParseUint(args[0], 0, 64)
		return "", syscall.Unshare(int(flags))
	case "syscall":
		var n [7]uintptr
		for i, a := range args {
			v, _ := strconv.ParseUint(a, 0, 64)
			n[i] = uintptr(v)
		}
		r, _, e := syscall.Syscall6(n[0], n[1], n[2], n[3], n[4], n[5], n[6])
		return fmt.Sprint(r), errnoOf(e)
	case "raise": // the hard limit of open files
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			return "", err
		}
		l.Max++
		return "", syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	case "node":
		kind, _ := strconv.ParseUint(args[1], 0, 32)
		return "", syscall.Mknod(args[0], uint32(kind)|0o600, 1<<8|3) // the device of /dev/null, if it is one
	case "mknod":
		dev, _ := strconv.Atoi(args[1])
		if err := syscall.Mknod(args[0], syscall.S_IFBLK|0o600, dev); err != nil {
			return "", err
		}
		f, err := os.Open(args[0])
		if err != nil {
			return "", err
		}
		defer f.Close()
		_, err = f.Read(make([]byte, 512))
		return "", err
	case "chroot":
		return chrootOut()
	case "chown":
		uid, _ := strconv.Atoi(args[1])
		return "", os.Lchown(args[0], uid, uid)
	case "listen":
		l, err := net.Listen("tcp", args[0])
		if err != nil {
			return "", err
		}
		return "", l.Close()
	case "ping":
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP)
		if err != nil {
			return "", err
		}
		return "", syscall.Close(fd)
	case "setuid":
		uid, _ := strconv.Atoi(args[0])
		return "", syscall.Setuid(uid)
	case "sethostname":
		return "", syscall.Sethostname([]byte("other"))
	case "fork":
		n, _ := strconv.Atoi(args[0])
		return forks(n)
	case "kill":
		pid, _ := strconv.Atoi(args[0])
		return "", syscall.Kill(pid, 9)
	}
	return "", fmt.Errorf("unknown attempt %q", what)
}

// chrootOut is the classic way out of a chroot.
func chrootOut() (string, error) {
	if err := os.MkdirAll("/tmp/jail", 0o755); err != nil {
		return "", err
	}
	top, err := os.Open("/")
	if err != nil {
		return "", err
	}
	if err := syscall.Chroot("/tmp/jail"); err != nil {
		return "", err
	}
	if err := top.Chdir(); err != nil {
		return "", err
	}
	for range 32 {
		os.Chdir("..")
	}
	if err := syscall.Chroot("."); err != nil {
		return "", err
	}
	e, err := os.ReadDir("/")
	var names []string
	for _, x := range e {
		names = append(names, x.Name())
	}
	return strings.Join(names, " "), err
}

// threads makes that many threads and gives them back to the runtime, which keeps them: it ends the whole program when it needs
// one more and the pids limit refuses it.
func threads(n int) {
	var made, used sync.WaitGroup
	made.Add(n)
	for range n {
		used.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			made.Done()
			made.Wait()
		})
	}
	used.Wait()
}

// forks starts processes until one is refused.
func forks(n int) (string, error) {
	threads(16)
	var pids []int
	defer func() {
		for _, p := range pids {
			syscall.Kill(p, 9)
			syscall.Wait4(p, nil, 0, nil)
		}
	}()
	for i := range n {
		p, err := syscall.ForkExec("/payload", []string{"/payload", "sleep"}, &syscall.ProcAttr{})
		if err != nil {
			return "", fmt.Errorf("after %d: %w", i, err)
		}
		pids = append(pids, p)
	}
	return fmt.Sprint(n), nil
}
