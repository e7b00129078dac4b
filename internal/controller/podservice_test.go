package controller

import (
	"context"
	"io"
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestServiceOfHost(t *testing.T) {
	for host, want := range map[string]string{
		"redis": "shop/redis", "redis.": "shop/redis", "Redis.other": "other/redis", "redis.other.svc": "other/redis",
		"redis.other.svc.cluster.local.": "other/redis", "a.b.c": "", "": "", ".": "", "redis.shop.example.com": "",
	} {
		k, ok := serviceOfHost(host, "shop")
		got := ""
		if ok {
			got = k.Namespace + "/" + k.Name
		}
		if got != want {
			t.Errorf("%q means %q, want %q", host, got, want)
		}
	}
}

func TestPodPort(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "db", ContainerPort: 5432}}}}}}
	for name, test := range map[string]struct {
		spec corev1.ServiceSpec
		want uint16
	}{
		"headless": {corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}, 80},
		"number":   {corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}, 8080},
		"name":     {corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("db")}}}, 5432},
		"same":     {corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}, 80},
		"not said": {corev1.ServiceSpec{}, 80},
	} {
		if got := podPort(&corev1.Service{Spec: test.spec}, pod, 80); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// pair gives the two ends of a TCP connection.
func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	b = <-accepted
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestJoin sends a question with a half-closed connection and takes the answer, and ends a connection by its context.
func TestJoin(t *testing.T) {
	client, inner := pair(t)
	outer, server := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { join(ctx, inner, outer); close(done) }()
	if _, err := client.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(server); err != nil || string(text) != "question" {
		t.Fatalf("the server got %q, %v", text, err)
	}
	if _, err := server.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if text, err := io.ReadAll(client); err != nil || string(text) != "answer" {
		t.Fatalf("the client got %q, %v", text, err)
	}
	<-done
	cancel()

	_, inner = pair(t)
	outer, _ = pair(t)
	ctx, cancel = context.WithCancel(context.Background())
	done = make(chan struct{})
	go func() { join(ctx, inner, outer); close(done) }()
	cancel()
	<-done
}
