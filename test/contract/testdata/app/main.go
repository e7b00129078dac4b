// App tells what it sees of its surroundings, and misbehaves when it is asked to.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// sight is what the program sees at its start.
type sight struct {
	Args  []string
	Env   map[string]string
	Dir   string
	UID   int
	Stdin string
}

func look() sight {
	s := sight{Args: os.Args[1:], Env: map[string]string{}, UID: os.Getuid()}
	s.Dir, _ = os.Getwd()
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		s.Env[name] = value
	}
	data, err := io.ReadAll(os.Stdin)
	s.Stdin = fmt.Sprint(string(data), " ", err)
	return s
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "exit" {
		code, _ := strconv.Atoi(os.Args[2])
		fmt.Println("leaving with", code)
		os.Exit(code)
	}
	if len(os.Args) > 2 && os.Args[1] == "write" { // as an init container
		check(os.WriteFile(os.Args[2], []byte(os.Args[3]), 0o644))
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "alive" { // as a probe
		response, err := http.Get("http://127.0.0.1:" + os.Getenv("PORT") + "/healthz")
		check(err)
		if response.StatusCode != http.StatusOK {
			os.Exit(1)
		}
		return
	}
	seen := look()
	var busy, most, health atomic.Int64
	health.Store(http.StatusOK)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv("ANSWER")) })
	mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(seen) })
	mux.HandleFunc("/proto", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Host", r.Host)
		json.NewEncoder(w).Encode(r.Header)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { answer(w)(os.ReadFile(r.FormValue("name"))) })
	mux.HandleFunc("/mode", func(w http.ResponseWriter, r *http.Request) {
		info, err := os.Stat(r.FormValue("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		fmt.Fprint(w, info.Mode())
	})
	mux.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		answer(w)(nil, os.WriteFile(r.FormValue("name"), []byte(r.FormValue("data")), 0o600))
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { // before the first byte, and after it
		most.Store(max(most.Load(), busy.Add(1)))
		defer busy.Add(-1)
		pause(r.FormValue("first"))
		fmt.Fprint(w, "begun")
		http.NewResponseController(w).Flush()
		pause(r.FormValue("then"))
		fmt.Fprint(w, " done")
	})
	mux.HandleFunc("/most", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, most.Load()) })
	mux.HandleFunc("/eat", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("mb"))
		food := make([]byte, n<<20)
		for i := range food {
			food[i] = byte(i)
		}
		fmt.Fprint(w, "ate ", len(food))
	})
	mux.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) {
		response, err := http.Get(r.FormValue("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		w.WriteHeader(response.StatusCode)
		io.Copy(w, response.Body)
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(int(health.Load())) })
	mux.HandleFunc("/sicken", func(w http.ResponseWriter, r *http.Request) { health.Store(http.StatusInternalServerError) })
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		fmt.Println("told to end")
		os.Exit(0)
	}()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Addr: ":" + os.Getenv("PORT"), Handler: mux, Protocols: protocols}
	check(server.ListenAndServe())
}

func answer(w http.ResponseWriter) func([]byte, error) {
	return func(data []byte, err error) {
		if err != nil {
			http.Error(w, fmt.Sprint(err, " ", string(data)), http.StatusInternalServerError)
			return
		}
		w.Write(data)
	}
}

func pause(d string) {
	if d, err := time.ParseDuration(d); err == nil {
		time.Sleep(d)
	}
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
