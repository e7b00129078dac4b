package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

// shopFiles is a project with a service that scales and an instance that stays.
var shopFiles = map[string]string{
	"compose.yaml": "services:\n  web:\n    build: ./web\n    ports: [\"8080\"]\n  db:\n    build: ./db\n    expose: [\"6379\"]\n",
	"web/go.mod":   "module example.com/web\n\ngo 1.26\n",
	"web/main.go": `package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, "web")
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(io.Discard, conn)
		conn.Close()
	})))
}
`,
	"db/go.mod": "module example.com/db\n\ngo 1.26\n",
	"db/main.go": `package main

import (
	"io"
	"net"
)

func main() {
	l, err := net.Listen("tcp", ":6379")
	for err == nil {
		var c net.Conn
		if c, err = l.Accept(); err == nil {
			io.WriteString(c, "db")
			c.Close()
		}
	}
	panic(err)
}
`,
}

// publishing is a daemon of its own with the project, many of whose ports are published: more than fit one packet to the helper.
type publishing struct {
	*realdaemon.Host
	t       *testing.T
	web, db []string
}

func startPublishing(ctx context.Context, t *testing.T) *publishing {
	t.Helper()
	folder := t.TempDir()
	for name, text := range shopFiles {
		path := filepath.Join(folder, name)
		p := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
		if p != nil {
			t.Fatal(p)
		}
	}
	h := &publishing{Host: realdaemon.New(binary, t.TempDir(), "FAIRLEAD_KEEP_INSTANCES=true"), t: t}
	h.must("starting", h.Start(ctx))
	t.Cleanup(func() {
		h.Env = append(h.Env, "FAIRLEAD_KEEP_INSTANCES=false")
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if !h.Running() {
			h.must("starting for the end", h.Start(ctx))
		}
		h.must("ending", h.End(syscall.SIGTERM))
	})
	up := exec.CommandContext(ctx, binary, "up", "-d", "--wait", "60s", "-f", folder)
	up.Env = h.Env
	out, err := up.CombinedOutput()
	h.must("making the project: "+string(out), err)
	h.web, h.db = freeAddresses(t, 5), freeAddresses(t, 5)
	h.publish(ctx, "web", h.web, "8080")
	h.publish(ctx, "db", h.db, "6379")
	return h
}

func (h *publishing) must(doing string, err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", doing, err, h.Logged())
	}
}

// freeAddresses gives addresses on which nobody listens, of those that the kernel gives to nobody by itself.
func freeAddresses(t *testing.T, n int) (all []string) {
	t.Helper()
	for range n {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, "127.0.0.1:"+port)
	}
	return all
}

// publish annotates a service and waits until all its addresses are open.
func (h *publishing) publish(ctx context.Context, name string, addresses []string, port string) {
	h.t.Helper()
	data := fmt.Sprintf(`{"metadata":{"annotations":{"fairlead.dev/publish":%q}}}`, strings.Join(addresses, "="+port+",")+"="+port)
	var err error
	if name == "web" {
		_, err = h.Serving.ServingV1().Services("default").Patch(ctx, name, types.MergePatchType, []byte(data), metav1.PatchOptions{})
	} else {
		_, err = h.Kube.CoreV1().Services("default").Patch(ctx, name, types.MergePatchType, []byte(data), metav1.PatchOptions{})
	}
	h.must("publishing "+name, err)
	for _, address := range addresses {
		h.until(ctx, address+" is open", func() bool { return h.dial(address) == nil })
	}
}

func (h *publishing) until(ctx context.Context, what string, ok func() bool) {
	h.t.Helper()
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, patience, true, func(context.Context) (bool, error) { return ok(), nil })
	h.must("waiting until "+what, err)
}

func (h *publishing) dial(address string) error {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		err = conn.Close()
	}
	return err
}

// visitor is a client that has connected and asked, and not yet read.
type visitor struct {
	net.Conn
	web bool
}

// visit connects to every published address.
func (h *publishing) visit() (all []visitor) {
	h.t.Helper()
	for n, address := range append(h.web[:len(h.web):len(h.web)], h.db...) {
		conn, err := net.Dial("tcp", address)
		h.must("connecting", err)
		v := visitor{conn, n < len(h.web)}
		if v.web {
			_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
			h.must("asking", err)
		}
		all = append(all, v)
	}
	return all
}

// serve reads the answer.
func (v visitor) answer() (string, error) {
	defer v.Close()
	if err := v.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if !v.web {
		data, err := io.ReadAll(v)
		return string(data), err
	}
	res, err := http.ReadResponse(bufio.NewReader(v), nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return string(data), err
}

// webSocket opens one and reads the answer's header.
func (h *publishing) webSocket() io.Reader {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.web[0])
	h.must("connecting", err)
	h.t.Cleanup(func() { conn.Close() })
	h.must("bounding a wait", conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	h.must("asking", err)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	h.must("opening a WebSocket", err)
	if res.StatusCode != http.StatusSwitchingProtocols {
		h.t.Fatalf("no WebSocket: %s", res.Status)
	}
	return in
}

func (h *publishing) answered(when string, all []visitor) {
	h.t.Helper()
	for _, v := range all {
		want := "db"
		if v.web {
			want = "web"
		}
		if text, err := v.answer(); err != nil || text != want {
			h.t.Errorf("%s: %s answers %q, %v, want %q", when, v.RemoteAddr(), text, err, want)
		}
	}
	if h.t.Failed() {
		h.t.Fatalf("%s", h.Logged())
	}
}

// TestPublishedPortsOutliveTheDaemon: who connects to a published port while no daemon is there is answered by the next one, however
// the one before ended; a port that is not published any more when it comes is closed.
func TestPublishedPortsOutliveTheDaemon(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	h := startPublishing(ctx, t)
	h.answered("before", h.visit())

	h.must("stopping", h.End(syscall.SIGTERM))
	between := h.visit()
	h.must("starting again", h.Start(ctx))
	h.answered("between two daemons", between)
	h.answered("after a restart", h.visit())

	if err := h.End(syscall.SIGKILL); err == nil {
		t.Fatal("the daemon ended by itself")
	}
	between = h.visit()
	h.must("starting after a kill", h.Start(ctx))
	h.answered("after a kill", between)

	early, socket := h.visit(), h.webSocket()
	h.must("taking over", h.Takeover(ctx))
	h.answered("before a takeover", early)
	if data, err := io.ReadAll(socket); err != nil || string(data) != "\x88\x02\x03\xe9" {
		t.Errorf("a WebSocket reads %q, %v, want the frame that closes it because the daemon goes away", data, err)
	}
	h.answered("after a takeover", h.visit())

	// A daemon without controller publishes nothing; what is not published when the next one comes stays closed.
	h.must("stopping", h.End(syscall.SIGTERM))
	h.must("starting without controller", h.Start(ctx, "--disable", "controller"))
	none := []byte(`{"metadata":{"annotations":{"fairlead.dev/publish":null}}}`)
	_, err := h.Kube.CoreV1().Services("default").Patch(ctx, "db", types.MergePatchType, none, metav1.PatchOptions{})
	h.must("unpublishing", err)
	h.must("stopping", h.End(syscall.SIGTERM))
	h.must("starting again", h.Start(ctx))
	for _, address := range h.web {
		h.until(ctx, address+" is open", func() bool { return h.dial(address) == nil })
	}
	for _, address := range h.db {
		if err := h.dial(address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s, which is not published any more: %v", address, err)
		}
	}

	// An end that keeps nothing closes them at once.
	h.Env = append(h.Env, "FAIRLEAD_KEEP_INSTANCES=false")
	h.must("stopping", h.End(syscall.SIGTERM))
	h.must("starting to keep nothing", h.Start(ctx))
	h.must("stopping", h.End(syscall.SIGTERM))
	for _, address := range h.web {
		if err := h.dial(address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s, after an end that keeps nothing: %v", address, err)
		}
	}
}
