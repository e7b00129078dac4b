// Command hits counts its visitors in Redis.
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	redis := cmp.Or(os.Getenv("REDIS"), "redis:6379")
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, q *http.Request) {
		n, err := increment(redis, "hits")
		if err != nil {
			log.Printf("count a visit: %v", err)
			http.Error(w, "the counter cannot be reached", http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "This page was seen %s times.\n", n)
	})
	log.Fatal(http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "8080"), nil))
}

// increment adds one to a key of Redis and gives what it is then. The protocol is lines of text; a program with more to
// say takes a client library.
func increment(address, key string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "INCR %s\r\n", key); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	n, ok := strings.CutPrefix(strings.TrimSpace(answer), ":")
	if !ok {
		return "", fmt.Errorf("redis answers %q", answer)
	}
	return n, nil
}
