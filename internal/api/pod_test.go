package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/fairlead-dev/fairlead/internal/api"
)

// here is a Live that runs commands on this machine and forwards to its loopback.
type here struct{}

func (here) Logs(_ context.Context, namespace, pod, container string, o api.LogOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(fmt.Sprintf("%s/%s/%s tail=%d follow=%v\n", namespace, pod, container, o.TailLines, o.Follow))), nil
}

func (here) Ended(_ context.Context, namespace, service string) ([]corev1.Pod, error) {
	return []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: service + "-1"}}}, nil
}

func (here) Exec(ctx context.Context, _, _, _ string, o api.ExecOptions) error {
	command := o.Command
	if len(command) == 0 {
		command = []string{"cat"}
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Stdout, o.Stderr
	if o.TTY {
		size := <-o.Resize
		fmt.Fprintf(o.Stdout, "%dx%d\n", size.Width, size.Height)
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &api.ExitError{Code: exit.ExitCode()}
	}
	return err
}

func (here) PortForward(ctx context.Context, _, _ string, port int32) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
}

func simplePod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "user-container", Image: "example.com/a:v1"}, {Name: "queue-proxy", Image: "example.com/b"}}}}
}

func beginWithPod(t *testing.T) *world {
	t.Helper()
	w := begin(t, "", func(c *api.Config) { c.Live = here{} })
	if _, err := w.client(t).CoreV1().Pods("default").Create(t.Context(), simplePod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestPodLog(t *testing.T) {
	w := beginWithPod(t)
	five := int64(5)
	data, err := w.client(t).CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{Container: "user-container", TailLines: &five, Follow: true}).DoRaw(t.Context())
	if err != nil || string(data) != "default/p/user-container tail=5 follow=true\n" {
		t.Errorf("log: %q, %v", data, err)
	}
	data, err = w.client(t).CoreV1().Pods("default").GetLogs("gone", &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil || string(data) != "default/gone/ tail=-1 follow=false\n" {
		t.Errorf("log of a pod that is gone: %q, %v", data, err)
	}
	var ended corev1.PodList
	err = w.client(t).CoreV1().RESTClient().Get().Namespace("default").Resource("services").Name("s").SubResource("ended").Do(t.Context()).Into(&ended)
	if err != nil || len(ended.Items) != 1 || ended.Items[0].Name != "s-1" {
		t.Errorf("pods that are gone: %v, %v", ended.Items, err)
	}
	_, err = w.client(t).CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{}).Stream(t.Context())
	if err == nil || !strings.Contains(err.Error(), "a container name must be specified for pod p, choose one of: [user-container queue-proxy]") {
		t.Errorf("log without container: %v", err)
	}
}

func TestPodExec(t *testing.T) {
	w := beginWithPod(t)
	for name, make := range map[string]func(*rest.Config, string, *rest.Request) (remotecommand.Executor, error){
		"SPDY": func(c *rest.Config, method string, r *rest.Request) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(c, method, r.URL())
		},
		"WebSocket": func(c *rest.Config, _ string, r *rest.Request) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(c, http.MethodGet, r.URL().String())
		},
	} {
		run := func(command []string, o remotecommand.StreamOptions) error {
			r := w.client(t).CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").SubResource("exec").VersionedParams(
				&corev1.PodExecOptions{Container: "user-container", Command: command, Stdin: o.Stdin != nil, Stdout: true, Stderr: !o.Tty, TTY: o.Tty}, scheme.ParameterCodec)
			e, err := make(w.admin(t), http.MethodPost, r)
			if err != nil {
				t.Fatal(err)
			}
			return e.StreamWithContext(t.Context(), o)
		}
		t.Run(name, func(t *testing.T) { checkExec(t, run) })
	}
}

func checkExec(t *testing.T, run func(command []string, o remotecommand.StreamOptions) error) {
	var out, errs bytes.Buffer
	err := run([]string{"sh", "-c", "cat; echo oops >&2; exit 3"}, remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs})
	var exit utilexec.CodeExitError
	if !errors.As(err, &exit) || exit.Code != 3 {
		t.Errorf("exit: %v, want code 3", err)
	}
	if out.String() != "hello" || errs.String() != "oops\n" {
		t.Errorf("out %q, err %q", out.String(), errs.String())
	}
	out.Reset()
	sizes := &oneSize{size: &remotecommand.TerminalSize{Width: 80, Height: 24}}
	if err := run([]string{"true"}, remotecommand.StreamOptions{Stdout: &out, Tty: true, TerminalSizeQueue: sizes}); err != nil || out.String() != "80x24\n" {
		t.Errorf("terminal: %q, %v", out.String(), err)
	}
}

// oneSize is a terminal that never changes.
type oneSize struct{ size *remotecommand.TerminalSize }

func (s *oneSize) Next() *remotecommand.TerminalSize {
	size := s.size
	s.size = nil
	return size
}

func TestPodPortForward(t *testing.T) {
	w := beginWithPod(t)
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	go func() {
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n')
			fmt.Fprintf(c, "you said %s", line)
			c.Close()
		}
	}()
	port := target.Addr().(*net.TCPAddr).Port
	location := w.client(t).CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(location, w.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("SPDY", func(t *testing.T) {
		checkForward(t, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, location), port)
	})
	t.Run("WebSocket", func(t *testing.T) { checkForward(t, tunnel, port) })
}

func checkForward(t *testing.T, dialer httpstream.Dialer, port int) {
	stop, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "hello\n")
	answer, err := io.ReadAll(c)
	if err != nil || string(answer) != "you said hello\n" {
		t.Errorf("answer %q, %v", answer, err)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Errorf("end: %v", err)
	}
}
