// Command chat is a chat room over WebSocket with a page of its own, and with "say" a client of it.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

//go:embed page.html
var page []byte

// room passes what one says on to all. Its people are in this process: a second instance would be a second room.
type room struct {
	mu     sync.Mutex
	people map[chan string]bool // guarded by mu
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "say" {
		if err := say(os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	r := &room{people: map[chan string]bool{}}
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	http.HandleFunc("GET /chat", r.chat)
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "8080"), nil))
}

// chat is one person in the room, from the handshake until they leave.
func (r *room) chat(w http.ResponseWriter, q *http.Request) {
	conn, err := websocket.Accept(w, q, nil)
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	ctx, leave := context.WithCancel(q.Context())
	defer leave()
	inbox := r.enter()
	defer r.leave(inbox)
	go func() {
		defer leave()
		for {
			_, text, err := conn.Read(ctx)
			if err != nil {
				return
			}
			r.tell(string(text))
		}
	}()
	for {
		select {
		case text := <-inbox:
			if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (r *room) enter() chan string {
	inbox := make(chan string, 64)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.people[inbox] = true
	return inbox
}

func (r *room) leave(inbox chan string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.people, inbox)
}

// tell passes a text on; who is 64 texts behind misses it.
func (r *room) tell(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for inbox := range r.people {
		select {
		case inbox <- text:
		default:
		}
	}
}

// say puts two people into the room of a URL; the first speaks, and what the second hears is printed.
func say(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: chat say URL TEXT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var people [2]*websocket.Conn
	for i := range people {
		conn, _, err := websocket.Dial(ctx, strings.TrimSuffix(args[0], "/")+"/chat", &websocket.DialOptions{HTTPClient: loopback()})
		if err != nil {
			return err
		}
		defer conn.CloseNow()
		people[i] = conn
		// Each says hello and hears it, so that both are in the room before anything else is said.
		if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			return err
		}
		if _, _, err := conn.Read(ctx); err != nil {
			return err
		}
	}
	if err := people[0].Write(ctx, websocket.MessageText, []byte(args[1])); err != nil {
		return err
	}
	_, heard, err := people[1].Read(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("heard: %s\n", heard)
	for _, conn := range people {
		_ = conn.Close(websocket.StatusNormalClosure, "")
	}
	return nil
}

// loopback resolves *.localhost as browsers and curl do, on machines whose resolver does not.
func loopback() *http.Client {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, ".localhost") {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}
