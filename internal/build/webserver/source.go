package webserver

import _ "embed"

//go:embed webserver.go
var source string

const mainSource = `package main

import (
	"os"

	webserver "webserver/server"
)

func main() { os.Exit(webserver.Main(os.Args[1:])) }
`

// Source gives the files of a Go module that is this server as a program, by name.
func Source() map[string]string {
	return map[string]string{"go.mod": "module webserver\n\ngo 1.24\n", "main.go": mainSource, "server/server.go": source}
}
