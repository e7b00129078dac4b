package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rootlessApp says who it is. With an argument it only prints it.
const rootlessApp = `package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println("said", os.Args[1])
		return
	}
	began := time.Now().UnixNano()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		users, _ := os.ReadFile("/proc/self/uid_map")
		fmt.Println("asked", r.URL.Path)
		fmt.Fprintf(w, "%d %s", began, users)
	})
	http.ListenAndServe(":"+os.Getenv("PORT"), nil)
}
`

// account is an ordinary user of this machine with ranges of subordinate users, made for one test.
type account struct {
	t    *testing.T
	user *user.User
	cred *syscall.Credential
}

func newAccount(t *testing.T) *account {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a user needs root")
	}
	for _, tool := range []string{"useradd", "newuidmap", "crun", "kubectl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	name := "fl" + strconv.Itoa(os.Getpid())
	if out, err := exec.Command("useradd", "--create-home", name).CombinedOutput(); err != nil {
		t.Fatalf("useradd: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("userdel", "--remove", name).CombinedOutput(); err != nil && !strings.Contains(string(out), "mail spool") {
			t.Errorf("userdel: %v: %s", err, out)
		}
	})
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &account{t, u, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// command is fairlead as the user would run it.
func (a *account) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(a.user.HomeDir, "fairlead"), args...)
	cmd.Dir = a.user.HomeDir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.cred}
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + a.user.HomeDir, "USER=" + a.user.Username,
		"FAIRLEAD_HOME=" + a.home(), "KUBECONFIG=" + filepath.Join(a.home(), "kubeconfig"), "FAIRLEAD_API_LISTEN=127.0.0.1:0",
		"FAIRLEAD_METRICS_LISTEN=127.0.0.1:0", "FAIRLEAD_GATEWAY_LISTEN=127.0.0.1:0", "FAIRLEAD_GATEWAY_TLS_LISTEN=127.0.0.1:0",
		"FAIRLEAD_REGISTRY_LISTEN=127.0.0.1:0"}
	return cmd
}

func (a *account) home() string { return filepath.Join(a.user.HomeDir, "fl") }

func (a *account) run(cmd *exec.Cmd) string {
	a.t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// serve starts the daemon and gives what stops it.
func (a *account) serve(args ...string) (log *lockedBuffer, stop func()) {
	a.t.Helper()
	log = &lockedBuffer{}
	cmd := a.command(append([]string{"serve"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	ended := make(chan struct{})
	var result error
	go func() { result = cmd.Wait(); close(ended) }()
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill() //nolint:errcheck // it may have ended
			<-ended
		}
		if result != nil {
			a.t.Errorf("the daemon ends: %v\n%s", result, log)
		}
	}
	waitFor(a.t, "ready", func() bool {
		select {
		case <-ended:
			a.t.Fatalf("the daemon ended: %v\n%s", result, log)
		default:
		}
		return strings.Contains(log.String(), "fairlead: ready")
	})
	return log, stop
}

// put copies a file into the user's folder.
func (a *account) put(from, name string) {
	a.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		a.t.Fatal(err)
	}
	to := filepath.Join(a.user.HomeDir, name)
	if err := os.WriteFile(to, data, 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Chown(to, int(a.cred.Uid), int(a.cred.Gid)); err != nil {
		a.t.Fatal(err)
	}
}

// askAt asks a service by its URL, which need not resolve.
func askAt(t *testing.T, service string) string {
	t.Helper()
	u, err := url.Parse(strings.TrimSpace(service))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil,
		Dial: func(network, _ string) (net.Conn, error) { return net.Dial(network, "127.0.0.1:"+u.Port()) }}}
	response, err := client.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s %q, %v", u, response.Status, body, err)
	}
	return string(body)
}

// TestRootless runs the whole of Fairlead as an ordinary user.
func TestRootless(t *testing.T) {
	a := newAccount(t)
	a.put(binary, "fairlead")
	source := t.TempDir()
	app := filepath.Join(source, "app")
	if err := os.WriteFile(filepath.Join(source, "main.go"), []byte(rootlessApp), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", app, filepath.Join(source, "main.go"))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	a.run(build)
	a.put(app, "app")

	doctor, _ := a.command("doctor").CombinedOutput() // ports and disk are the machine's matter
	if !bytes.Contains(doctor, []byte("an ordinary user can run instances")) || !bytes.Contains(doctor, []byte("limits are not enforced")) {
		t.Errorf("doctor says\n%s", doctor)
	}
	log, stop := a.serve("--keep-instances")
	if !strings.Contains(log.String(), "limits are not enforced") {
		t.Errorf("the log does not say what is missing:\n%s", log)
	}
	kubectl := exec.Command("kubectl", "--kubeconfig", filepath.Join(a.home(), "kubeconfig"), "-n", "knative-serving", "patch", "configmap", "config-autoscaler",
		"--type", "merge", "-p", `{"data":{"stable-window":"6s","scale-to-zero-grace-period":"6s"}}`)
	a.run(kubectl)
	service := regexp.MustCompile(`http://app\S+`).FindString(a.run(a.command("deploy", "./app", "--name", "app")))
	first := strings.Fields(askAt(t, service))
	if len(first) < 3 || first[1] != "0" || first[2] != strconv.Itoa(int(a.cred.Uid)) {
		t.Errorf("the instance says %q, want the users of %d", first, a.cred.Uid)
	}
	if out := a.run(a.command("exec", "app", "--", "/proc/1/exe", "word")); !strings.Contains(out, "said word") {
		t.Errorf("exec prints %q", out)
	}
	if out := a.run(a.command("logs", "app")); !strings.Contains(out, "asked /") {
		t.Errorf("logs print %q", out)
	}
	stop()
	log, stop = a.serve()
	if strings.Contains(log.String(), "could not be adopted") {
		t.Errorf("the next daemon does not adopt:\n%s", log)
	}
	service = regexp.MustCompile(`http://app\S+`).FindString(a.run(a.command("list")))
	if second := strings.Fields(askAt(t, service)); second[0] != first[0] {
		t.Errorf("the instance was made anew: %q, before %q", second, first)
	}
	zero := regexp.MustCompile(`(?m)^app .*\s0\s+\S+$`)
	waitFor(t, "scale to zero", func() bool { return zero.MatchString(a.run(a.command("list"))) })
	if third := strings.Fields(askAt(t, service)); third[0] == first[0] {
		t.Error("the instance was never ended")
	}
	stop()
	left, _ := exec.Command("ps", "-o", "stat=,args=", "-u", fmt.Sprint(a.cred.Uid)).Output() // fails where there is none
	for line := range strings.Lines(string(left)) {
		if !strings.HasPrefix(line, "Z") { // those are for process 1 to take away
			t.Errorf("left behind: %s", line)
		}
	}
}
