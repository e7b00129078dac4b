// App is a program for the controller's tests: it answers what its path asks for.
package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if code := os.Getenv("EXIT"); code != "" {
		n, _ := strconv.Atoi(code)
		fmt.Println("leaving with", n)
		os.Exit(n)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getenv("ANSWER"), os.Getenv("K_REVISION"))
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, strings.Join(os.Environ(), "\n")) })
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, r.URL.Query().Get("name")) })
	mux.HandleFunc("/sleep", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.URL.Query().Get("for"))
		time.Sleep(d)
		fmt.Fprintln(w, "slept", d)
	})
	mux.HandleFunc("/eat", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("mb"))
		b := make([]byte, n<<20)
		for i := range b {
			b[i] = byte(i)
		}
		fmt.Fprintln(w, "ate", len(b))
	})
	mux.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) {
		answer, err := http.Get(r.URL.Query().Get("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body)
	})
	mux.HandleFunc("/api", askAPI)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	port := cmp.Or(os.Getenv("LISTEN"), os.Getenv("PORT"), "8080")
	if err := http.ListenAndServe(":"+port, mux); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// askAPI asks the Kubernetes API for a path, as client libraries do it from inside a cluster.
func askAPI(w http.ResponseWriter, r *http.Request) {
	const folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
	token, err := os.ReadFile(folder + "token")
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	authority, err := os.ReadFile(folder + "ca.crt")
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	address := "https://" + os.Getenv("KUBERNETES_SERVICE_HOST") + ":" + os.Getenv("KUBERNETES_SERVICE_PORT")
	request, err := http.NewRequest(http.MethodGet, address+r.URL.Query().Get("path"), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	answer, err := client.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	w.WriteHeader(answer.StatusCode)
	io.Copy(w, answer.Body)
}
