package helper

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLink sends a message with files both of whose ends are in a folder with a long name.
func TestLink(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var listener *net.UnixListener
	err := viaDir(dir, socketName, func(path string) (err error) {
		listener, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := Connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect()
	accepted, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	server := &link{conn: accepted}
	defer accepted.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := server.send(response{ID: 7, Result: json.RawMessage(`"x"`)}, []*os.File{w}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var got response
	files, err := client.link.receive(&got)
	if err != nil || got.ID != 7 || len(files) != 1 {
		t.Fatalf("%+v, %d files, %v", got, len(files), err)
	}
	files[0].WriteString("through")
	files[0].Close()
	b := make([]byte, 16)
	if n, err := r.Read(b); err != nil || string(b[:n]) != "through" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if err := server.send(response{Error: strings.Repeat("x", maxMessage)}, nil); err == nil {
		t.Error("a message that is too long was sent")
	}
}
