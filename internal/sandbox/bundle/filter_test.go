package bundle

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// evaluate runs a compiled filter for a call, as the kernel does.
func evaluate(t *testing.T, program []byte, arch, number uint32, args [6]uint64) uint32 {
	t.Helper()
	data := binary.LittleEndian.AppendUint32(nil, number)
	data = binary.LittleEndian.AppendUint32(data, arch)
	data = binary.LittleEndian.AppendUint64(data, 0)
	for _, a := range args {
		data = binary.LittleEndian.AppendUint64(data, a)
	}
	var acc uint32
	for pc := 0; ; pc++ {
		i := program[8*pc:]
		k := binary.LittleEndian.Uint32(i[4:])
		jump := func(taken bool) {
			if taken {
				pc += int(i[2])
			} else {
				pc += int(i[3])
			}
		}
		switch binary.LittleEndian.Uint16(i) {
		case opLoad:
			acc = binary.LittleEndian.Uint32(data[k:])
		case opMask:
			acc &= k
		case opEqual:
			jump(acc == k)
		case opAbove:
			jump(acc > k)
		case opFrom:
			jump(acc >= k)
		case opJump:
			pc += int(k)
		case opRet:
			return k
		default:
			t.Fatalf("unknown instruction at %d", pc)
		}
	}
}

// TestFilterSaysWhatTheListSays compares the compiled filter with the list for every number.
func TestFilterSaysWhatTheListSays(t *testing.T) {
	for arch, other := range map[string]uint32{"amd64": unix.AUDIT_ARCH_I386, "arm64": unix.AUDIT_ARCH_ARM} {
		t.Run(arch, func(t *testing.T) { saysWhatTheListSays(t, arch, other) })
	}
}

func saysWhatTheListSays(t *testing.T, arch string, other uint32) {
	audit, calls := machine(arch)
	numbers := parseCallNumbers(calls)
	for _, caps := range [][]string{nil, {"CAP_SYS_ADMIN"}, {"CAP_SYS_TIME", "CAP_BPF"}} {
		s := Seccomp(caps)
		program, err := base64.StdEncoding.DecodeString(filterFor(arch, s))
		if err != nil || len(program) == 0 || len(program)%8 != 0 {
			t.Fatalf("program of %d bytes, %v", len(program), err)
		}
		want := map[uint32]uint32{}
		conditional := map[uint32]bool{}
		for _, c := range s.Syscalls {
			for _, name := range c.Names {
				if n, ok := numbers[name]; ok {
					want[n] = returns(c.Action, c.ErrnoRet).k
					conditional[n] = len(c.Args) > 0
				}
			}
		}
		for n := range uint32(1000) {
			if conditional[n] {
				continue
			}
			w, listed := want[n]
			if !listed {
				w = retErrno | uint32(unix.ENOSYS)
			}
			if got := evaluate(t, program, audit, n, [6]uint64{}); got != w {
				t.Errorf("call %d: %#x, want %#x", n, got, w)
			}
			if got := evaluate(t, program, other, n, [6]uint64{}); got == retAllow {
				t.Errorf("call %d of 32 bits is allowed", n)
			}
			if got := evaluate(t, program, audit, n|x32Bit, [6]uint64{}); got == retAllow {
				t.Errorf("call %d of x32 is allowed", n)
			}
		}
	}
}

func TestFilterConditions(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) { filterConditions(t, arch) })
	}
}

func filterConditions(t *testing.T, arch string) {
	audit, calls := machine(arch)
	numbers := parseCallNumbers(calls)
	program, err := base64.StdEncoding.DecodeString(filterFor(arch, Seccomp(nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		arg  uint64
		want bool
	}{
		{"clone", unix.CLONE_VM | unix.CLONE_THREAD, true},
		{"clone", unix.CLONE_NEWUSER, false},
		{"clone", unix.CLONE_NEWNS | unix.CLONE_VM, false},
		{"socket", unix.AF_INET, true},
		{"socket", unix.AF_UNIX, true},
		{"socket", unix.AF_NETLINK, true},
		{"socket", unix.AF_ALG, false},
		{"socket", unix.AF_VSOCK, false},
		{"socket", 1<<32 | unix.AF_VSOCK, false},
		{"socket", unix.AF_ALG + 1, true},
		{"socket", unix.AF_VSOCK + 1, true},
		{"personality", 0, true},
		{"personality", 0xffffffff, true},
		{"personality", 0x40000, false},
	} {
		got := evaluate(t, program, audit, numbers[c.name], [6]uint64{c.arg})
		if (got == retAllow) != c.want {
			t.Errorf("%s(%#x): %#x, allowed is to be %v", c.name, c.arg, got, c.want)
		}
	}
}

func TestFilterLeavesWhatItDoesNotKnow(t *testing.T) {
	s := Seccomp(nil)
	s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActNotify})
	if Filter(s) != "" {
		t.Error("an action that is not known was compiled")
	}
}

// TestCallNumbers compares the lists with those of golang.org/x/sys, which are made from the kernel's headers.
func TestCallNumbers(t *testing.T) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "zsysnum_linux_"+arch+".go"))
		if err != nil {
			t.Fatal(err)
		}
		_, calls := machine(arch)
		ours := parseCallNumbers(calls)
		lines := regexp.MustCompile(`SYS_(\w+)\s*=\s*(\d+)`).FindAllStringSubmatch(string(data), -1)
		if len(lines) < 300 {
			t.Fatalf("%s: %d calls", arch, len(lines))
		}
		for _, line := range lines {
			name := strings.ToLower(line[1])
			if n, known := ours[name]; known && fmt.Sprint(n) != line[2] { // newer ones are not known, and so refused
				t.Errorf("%s: %s is %d, x/sys says %s", arch, name, n, line[2])
			}
			delete(ours, name)
		}
		if len(ours) > 0 {
			t.Errorf("%s: x/sys does not know %v", arch, ours)
		}
	}
}
