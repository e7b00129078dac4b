package sandbox_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

var update = flag.Bool("update", false, "rewrite the table of attempts in the documentation")

// column is the outcome of each attempt with one driver.
type column map[string]string

// ordinary marks a driver for a daemon that is an ordinary user's.
const ordinary = ", ordinary user"

// columns are the drivers in the order of the table, and what they are called there.
var columns = []struct{ driver, title string }{
	{"crun", "crun"}, {"runc", "runc"}, {"runsc", "gVisor"}, {"process", "process"},
	{"crun" + ordinary, "crun" + ordinary}, {"runsc" + ordinary, "gVisor" + ordinary},
}

const (
	tablePage  = "../../docs/explanation/isolation.md"
	tableBegin = "<!-- attempts: made by go test ./internal/sandbox -run '^TestEscape$' -update -->\n"
	tableEnd   = "<!-- attempts: end -->\n"
)

// TestEscape makes every attempt with every driver that this machine has, and compares with the table in the documentation. A driver
// that is not here keeps its column.
func TestEscape(t *testing.T) {
	needRoot(t)
	page, err := os.ReadFile(tablePage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", tablePage)
	}
	results := readTable(old)
	here := everyDriver()
	for _, c := range columns {
		t.Run(c.driver, func(t *testing.T) {
			driver, asUser := strings.CutSuffix(c.driver, ordinary)
			switch {
			case !slices.Contains(here, driver):
				t.Skipf("%s is not installed: its column stays as it was committed", driver)
			case asUser:
				results[c.driver] = escapeAsUser(t, driver)
			default:
				results[c.driver] = escape(t, driver)
			}
		})
	}
	if t.Failed() || !everyColumnAsked() {
		return
	}
	table := writeTable(results)
	if table == old {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not what happens; if it is right so, run go test ./internal/sandbox -run '^TestEscape$' -update\n%s", tablePage, table)
	}
	if err := os.WriteFile(tablePage, []byte(before+tableBegin+table+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// everyColumnAsked says whether -test.run names no driver, so that those which did not run are not here.
func everyColumnAsked() bool { return !strings.Contains(flag.Lookup("test.run").Value.String(), "/") }

func writeTable(results map[string]column) string {
	var b strings.Builder
	b.WriteString("| attempt, as root inside |")
	for _, c := range columns {
		b.WriteString(" " + c.title + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, a := range attempts("") {
		b.WriteString("| " + a.name + " |")
		for _, c := range columns {
			outcome := results[c.driver][a.name]
			if outcome == "" {
				outcome = notTested
			}
			b.WriteString(" " + outcome + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for _, a := range attempts("") {
		if why := emulation[a.name]; why != "" {
			fmt.Fprintf(&b, "*%s*, %s: %s.\n", emulated, a.name, why)
		}
	}
	return b.String()
}

// readTable reads what writeTable wrote.
func readTable(text string) map[string]column {
	results := map[string]column{}
	for _, c := range columns {
		results[c.driver] = column{}
	}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != len(columns)+1 {
			continue
		}
		for n, c := range columns {
			results[c.driver][strings.TrimSpace(cells[0])] = strings.TrimSpace(cells[n+1])
		}
	}
	return results
}

func TestTableIsReadAsWritten(t *testing.T) {
	results := map[string]column{}
	for n, c := range columns {
		results[c.driver] = column{}
		for m, a := range attempts("") {
			results[c.driver][a.name] = []string{stopped, emulated, gotaway}[(n+m)%3]
		}
	}
	if table := writeTable(results); writeTable(readTable(table)) != table {
		t.Errorf("written, read and written again, the table is another: %s", table)
	}
}

// Variables of the process that makes the attempts as an ordinary user.
const (
	asUserDir     = "SANDBOX_TEST_AS_USER" // a folder of that user; the results go there
	asUserPayload = "SANDBOX_TEST_PAYLOAD" // a root file system to copy
	asUserDriver  = "SANDBOX_TEST_DRIVER"
)

// escapeAsUser makes an account and has this program make the attempts as its user.
func escapeAsUser(t *testing.T, driver string) column {
	for _, tool := range []string{"useradd", "newuidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: the column stays as it was committed", tool)
		}
	}
	root := rootFS(t)
	u := newUser(t)
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	runtime, err := exec.LookPath(driver)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(u.HomeDir, "sandbox.test")
	for to, from := range map[string]string{program: "/proc/self/exe", filepath.Join(u.HomeDir, driver): runtime} { // the originals may be in a folder of root's
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestEscapeAsUser$", "-test.v", "-test.count=1")
	cmd.Dir = u.HomeDir
	cmd.Env = []string{"PATH=" + u.HomeDir + ":/usr/bin:/bin:/usr/sbin:/sbin", asUserDriver + "=" + driver,
		"HOME=" + u.HomeDir, "TMPDIR=" + u.HomeDir, asUserDir + "=" + u.HomeDir, asUserPayload + "=" + root}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as an ordinary user: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(u.HomeDir, "results"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	results := column{}
	if err := json.Unmarshal(data, &results); err != nil {
		t.Fatal(err)
	}
	return results
}

// TestEscapeAsUser is no test: it makes the attempts for escapeAsUser.
func TestEscapeAsUser(t *testing.T) {
	dir := os.Getenv(asUserDir)
	if dir == "" {
		t.Skip("only for TestEscape")
	}
	data, err := json.Marshal(escape(t, os.Getenv(asUserDriver)))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "results"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// becomeRootOfUsers enters a user namespace if this process is to make the attempts as an ordinary user.
func becomeRootOfUsers() error {
	dir := os.Getenv(asUserDir)
	if dir == "" {
		return nil
	}
	if err := sandbox.EnterUsers(dir); err != nil {
		return fmt.Errorf("entering a user namespace: %w", err)
	}
	// Files of users that the namespace does not have cannot be changed, not even in an overlay.
	payload.once.Do(func() {
		payload.dir = filepath.Join(dir, "payload")
		payload.err = os.CopyFS(payload.dir, os.DirFS(os.Getenv(asUserPayload)))
	})
	return nil
}
