// Command payload is what the tests run inside of an instance: a web server that does what it is asked to.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		command(os.Args[1], os.Args[2:])
		return
	}
	serve()
}

func serve() {
	if s := os.Getenv("START_DELAY"); s != "" {
		d, _ := time.ParseDuration(s)
		time.Sleep(d)
	}
	fmt.Println("hello from stdout")
	fmt.Fprintln(os.Stderr, "hello from stderr")
	if os.Getenv("IGNORE_TERM") != "" {
		signal.Ignore(syscall.SIGTERM)
	} else {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		go func() {
			<-c
			fmt.Println("got SIGTERM")
			os.Exit(0)
		}()
	}
	var healthy atomic.Bool
	healthy.Store(true)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello", os.Getpid()) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if !healthy.Load() {
			http.Error(w, "sick", 500)
		}
	})
	mux.HandleFunc("/sick", func(w http.ResponseWriter, r *http.Request) { healthy.Store(false) })
	mux.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(os.Stderr, "leaving as asked")
		code, _ := strconv.Atoi(r.FormValue("code"))
		os.Exit(code)
	})
	mux.HandleFunc("/eat", func(w http.ResponseWriter, r *http.Request) {
		mb, _ := strconv.Atoi(r.FormValue("mb"))
		b := make([]byte, mb<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		fmt.Fprintln(w, len(b))
	})
	mux.HandleFunc("/run", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, attempt(r.FormValue("do"), r.Form["arg"]))
	})
	mux.HandleFunc("/print", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		os.Stdout.WriteString(strings.Repeat(r.FormValue("s"), n) + "\n")
	})
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server := &http.Server{Handler: mux}
	if os.Getenv("H2C") != "" {
		server.Protocols = new(http.Protocols)
		server.Protocols.SetUnencryptedHTTP2(true) // and nothing else
	}
	server.Serve(l)
}

func command(name string, args []string) {
	switch name {
	case "exit":
		fmt.Fprintln(os.Stderr, "leaving as asked")
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "write":
		if err := os.WriteFile(args[0], []byte(args[1]), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "blocking":
		for fd := range 3 {
			flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFL, 0)
			fmt.Print(flags&syscall.O_NONBLOCK == 0, " ")
		}
	case "tty":
		if _, err := os.Open("/dev/tty"); err != nil {
			fmt.Println("no tty:", err)
			os.Exit(1)
		}
		fmt.Println("ready")
		r := bufio.NewReader(os.Stdin)
		line, _ := r.ReadString('\n')
		fmt.Print("size ", size(), " line ", line)
	case "sleep":
		time.Sleep(time.Hour)
	default:
		out := attempt(name, args)
		fmt.Print(out)
		if strings.HasPrefix(out, "ERR") {
			os.Exit(1)
		}
	}
}
