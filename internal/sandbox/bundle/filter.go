package bundle

import (
	"encoding/base64"
	"encoding/binary"
	"runtime"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// FilterAnnotation is where crun takes a compiled system call filter from, which replaces the list in the configuration.
const FilterAnnotation = "run.oci.seccomp_bpf_data"

// Filter compiles a system call filter to the base64 of a program for this machine: a search tree over the numbers. What a library makes of the
// same list walks it from top to bottom, for each architecture, and takes 17 ms to make and 2 ms to load, which a spare would pay
// for when it is woken. Programs of other architectures (32 bits, x32) get the default answer for every call. Empty: this
// machine is neither x86-64 nor 64-bit ARM, or the filter has conditions that are not known here; a runtime then compiles the list
// itself.
func Filter(s *specs.LinuxSeccomp) string { return filterFor(runtime.GOARCH, s) }

// CanFilter says whether filters can be compiled for this machine.
func CanFilter() bool {
	_, numbers := machine(runtime.GOARCH)
	return numbers != ""
}

// machine gives what the kernel calls an architecture, and its calls; none if they are not known here.
func machine(goarch string) (audit uint32, calls string) {
	switch goarch {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64, callsX8664
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64, callsAArch64
	}
	return 0, ""
}

func filterFor(goarch string, s *specs.LinuxSeccomp) string {
	audit, calls := machine(goarch)
	if calls == "" {
		return ""
	}
	numbers := parseCallNumbers(calls)
	verdicts := map[uint32][]insn{}
	for _, c := range s.Syscalls {
		for _, name := range c.Names {
			n, known := numbers[name]
			if !known {
				continue // of another architecture
			}
			code, ok := verdict(c, s)
			if !ok {
				return ""
			}
			if before := verdicts[n]; len(c.Args) > 0 && len(before) > 0 {
				code = append(before[:len(before)-1:len(before)-1], code...) // instead of its default answer
			}
			verdicts[n] = code
		}
	}
	var out []byte
	for _, i := range program(audit, verdicts, returns(s.DefaultAction, s.DefaultErrnoRet)) {
		out = binary.LittleEndian.AppendUint16(out, i.code)
		out = append(out, i.jt, i.jf)
		out = binary.LittleEndian.AppendUint32(out, i.k)
	}
	return base64.StdEncoding.EncodeToString(out)
}

// insn is one instruction of the kernel's classic filter machine.
type insn struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

const (
	opLoad  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opAbove = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	opFrom  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	opMask  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opJump  = unix.BPF_JMP | unix.BPF_JA
	opRet   = unix.BPF_RET | unix.BPF_K

	// Offsets in what the filter is given about a call.
	offNumber = 0
	offArch   = 4
	offArgs   = 16

	retAllow = 0x7fff0000
	retErrno = 0x00050000
	x32Bit   = 0x40000000
)

func returns(a specs.LinuxSeccompAction, errno *uint) insn {
	if a == specs.ActAllow {
		return insn{code: opRet, k: retAllow}
	}
	e := uint32(unix.EPERM)
	if errno != nil {
		e = uint32(*errno)
	}
	return insn{code: opRet, k: retErrno | e}
}

// verdict is the code for one call: its answer, or a condition with the answer and the default after it. Arguments are compared
// by their lower halves: those with conditions are 32 bits wide, or have only lower bits in the condition.
func verdict(c specs.LinuxSyscall, s *specs.LinuxSeccomp) ([]insn, bool) {
	if c.Action != specs.ActAllow && c.Action != specs.ActErrno {
		return nil, false
	}
	answer, otherwise := returns(c.Action, c.ErrnoRet), returns(s.DefaultAction, s.DefaultErrnoRet)
	if len(c.Args) == 0 {
		return []insn{answer}, true
	}
	if len(c.Args) > 1 || c.Args[0].Value > 1<<32-1 || c.Args[0].ValueTwo > 1<<32-1 {
		return nil, false
	}
	a := c.Args[0]
	code := []insn{{code: opLoad, k: offArgs + 8*uint32(a.Index)}}
	value := uint32(a.Value)
	switch a.Op {
	case specs.OpEqualTo:
		code = append(code, insn{opEqual, 0, 1, value}, answer)
	case specs.OpGreaterThan:
		code = append(code, insn{opAbove, 0, 1, value}, answer)
	case specs.OpLessThan:
		code = append(code, insn{opFrom, 1, 0, value}, answer)
	case specs.OpMaskedEqual:
		code = append(code, insn{code: opMask, k: value}, insn{opEqual, 0, 1, uint32(a.ValueTwo)}, answer)
	default:
		return nil, false
	}
	return append(code, otherwise), true
}

// span is a run of numbers with the same answer, from its first number to the next span.
type span struct {
	first uint32
	code  []insn
}

func program(audit uint32, verdicts map[uint32][]insn, otherwise insn) []insn {
	spans := []span{{0, []insn{otherwise}}}
	put := func(first uint32, code []insn) {
		last := &spans[len(spans)-1]
		switch {
		case slices.Equal(last.code, code) && len(code) == 1:
		case last.first == first:
			last.code = code
		default:
			spans = append(spans, span{first, code})
		}
	}
	var numbers []uint32
	for n := range verdicts {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for at, n := range numbers {
		put(n, verdicts[n])
		if at+1 == len(numbers) || numbers[at+1] != n+1 {
			put(n+1, []insn{otherwise})
		}
	}
	return append([]insn{
		{code: opLoad, k: offArch},
		{opEqual, 1, 0, audit},
		otherwise,
		{code: opLoad, k: offNumber},
		{opFrom, 0, 1, x32Bit},
		otherwise,
	}, search(spans)...)
}

// search finds the span of a number.
func search(spans []span) []insn {
	if len(spans) == 1 {
		return spans[0].code
	}
	middle := len(spans) / 2
	below, above := search(spans[:middle]), search(spans[middle:])
	var code []insn
	if len(below) < 256 {
		code = []insn{{opFrom, uint8(len(below)), 0, spans[middle].first}}
	} else {
		code = []insn{{opFrom, 0, 1, spans[middle].first}, {code: opJump, k: uint32(len(below))}}
	}
	return append(append(code, below...), above...)
}

// parseCallNumbers reads names in the order of their numbers; a number says where the next name stands.
func parseCallNumbers(list string) map[string]uint32 {
	out := map[string]uint32{}
	next := uint32(0)
	for _, word := range strings.Fields(list) {
		if n, err := strconv.ParseUint(word, 10, 32); err == nil {
			next = uint32(n)
			continue
		}
		out[word] = next
		next++
	}
	return out
}
