// Command sleeper answers each request after a tenth of a second, as the program does that Knative's own performance programs ask.
package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(100 * time.Millisecond)
		io.WriteString(w, "slept\n") //nolint:errcheck // who asked is gone
	})
	log.Fatal(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
