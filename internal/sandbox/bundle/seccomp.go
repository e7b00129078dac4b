package bundle

import (
	"runtime"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Seccomp is the default system call filter for a container with these capabilities. What is listed as allowed is allowed; what is
// known and dangerous answers EPERM; everything else, so also what later kernels add, answers ENOSYS, on which C libraries
// fall back to older calls.
func Seccomp(caps []string) *specs.LinuxSeccomp {
	s := &specs.LinuxSeccomp{
		DefaultAction:   specs.ActErrno,
		DefaultErrnoRet: errno(unix.ENOSYS),
		Architectures:   architectures(),
	}
	allow := strings.Fields(allowedCalls)
	refuse := strings.Fields(refusedCalls)
	for capability, calls := range callsOfCapability() {
		if slices.Contains(caps, capability) {
			more := strings.Fields(calls)
			allow = append(allow, more...)
			refuse = slices.DeleteFunc(refuse, func(c string) bool { return slices.Contains(more, c) })
		}
	}
	slices.Sort(allow)
	allow = slices.Compact(allow)
	s.Syscalls = append(s.Syscalls,
		specs.LinuxSyscall{Names: allow, Action: specs.ActAllow},
		specs.LinuxSyscall{Names: refuse, Action: specs.ActErrno, ErrnoRet: errno(unix.EPERM)})
	if !slices.Contains(caps, "CAP_SYS_ADMIN") {
		s.Syscalls = append(s.Syscalls, conditional()...)
	}
	return s
}

func errno(e unix.Errno) *uint { n := uint(e); return &n }

// architectures is this machine's own alone: every further one makes the filter longer, and longer to load.
func architectures() []specs.Arch {
	switch runtime.GOARCH {
	case "amd64":
		return []specs.Arch{specs.ArchX86_64}
	case "arm64":
		return []specs.Arch{specs.ArchAARCH64}
	}
	return nil // the runtime uses its own
}

// conditional are the calls whose arguments decide. clone3 hides its flags from a filter, so it answers ENOSYS and the C library
// uses clone.
func conditional() []specs.LinuxSyscall {
	newNamespaces := uint64(unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP)
	equal := func(index uint, value uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Index: index, Value: value, Op: specs.OpEqualTo}}
	}
	out := []specs.LinuxSyscall{
		{Names: []string{"clone"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: newNamespaces, ValueTwo: 0, Op: specs.OpMaskedEqual}}},
		{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: errno(unix.ENOSYS)},
		// Everything but AF_VSOCK and AF_ALG, by ranges, because two "not equal" cannot be joined in one rule.
		{Names: []string{"socket"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: unix.AF_ALG, Op: specs.OpLessThan}}},
		{Names: []string{"socket"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: unix.AF_VSOCK, Op: specs.OpGreaterThan}}},
		{Names: []string{"socket"}, Action: specs.ActAllow, Args: equal(0, unix.AF_ALG+1)},
	}
	for _, persona := range []uint64{0, 8, 0x20000, 0x20008, 0xffffffff} {
		out = append(out, specs.LinuxSyscall{Names: []string{"personality"}, Action: specs.ActAllow, Args: equal(0, persona)})
	}
	return out
}

// callsOfCapability are the calls that go with a capability that is not in the usual set.
func callsOfCapability() map[string]string {
	return map[string]string{
		"CAP_SYS_ADMIN": `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
			open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns swapoff swapon syslog umount umount2
			unshare socket personality`,
		"CAP_BPF":             "bpf",
		"CAP_PERFMON":         "perf_event_open",
		"CAP_SYS_BOOT":        "reboot",
		"CAP_SYS_MODULE":      "delete_module finit_module init_module",
		"CAP_SYS_TIME":        "clock_settime settimeofday stime adjtimex clock_adjtime",
		"CAP_SYS_PACCT":       "acct",
		"CAP_SYS_RAWIO":       "iopl ioperm",
		"CAP_SYS_TTY_CONFIG":  "vhangup",
		"CAP_SYSLOG":          "syslog",
		"CAP_DAC_READ_SEARCH": "open_by_handle_at",
		"CAP_SYS_NICE":        "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node get_mempolicy",
		"CAP_SYS_PTRACE":      "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev",
	}
}

// refusedCalls change the machine or give away what a container must not see.
const refusedCalls = `acct add_key bpf clock_settime create_module delete_module fanotify_init finit_module fsconfig
	fsmount fsopen fspick get_kernel_syms init_module ioperm iopl io_uring_enter io_uring_register io_uring_setup kcmp
	kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages mount mount_setattr move_mount move_pages nfsservctl
	open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev
	query_module quotactl quotactl_fd reboot request_key set_mempolicy set_mempolicy_home_node setdomainname sethostname setns settimeofday stime swapoff
	swapon sysfs syslog umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old`

// allowedCalls are what ordinary programs use.
const allowedCalls = `
	accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown chown32 chroot
	clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
	clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl
	epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat
	faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
	fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
	ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents
	getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
	getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list
	getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr inotify_add_watch
	inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64
	ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
	lchown lchown32 lgetxattr link linkat listen listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64
	madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall
	mmap mmap2 modify_ldt mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
	mq_timedsend_time64 mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at
	nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
	pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64
	ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg
	remap_file_pages removexattr rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction
	rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
	rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
	sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
	sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
	sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
	setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit
	set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32 setxattr shmat shmctl shmdt shmget
	shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64
	statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
	timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
	timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat
	utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev mseal setxattrat getxattrat listxattrat removexattrat uretprobe arm_fadvise64_64 arm_sync_file_range
	sync_file_range2 breakpoint cacheflush set_tls`
