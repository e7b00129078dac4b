package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tool is a way to run programs. The commands are given to a shell in the program's folder, one string for each that is typed.
type tool struct {
	name string
	// daemon is what has to run before, and up a command that succeeds once it does. Empty without a daemon.
	daemon, up string
	// load takes the archive of a base image.
	load string
	// versions are the Debian packages it is made of; versionCommand is for what is none.
	versions       []string
	versionCommand string
	environment    []string
	// way gives the commands for one program; ok is false where the tool has no way to it.
	way func(p program) (w way, ok bool)
}

// way is how a tool brings a program to its first answer, then a change of it, and ends it.
type way struct {
	files             map[string]string
	start, edit, stop []string
	host              string // of the URL; the address is always 127.0.0.1:8080
}

// written is how many files and lines a person adds to the source.
func (w way) written() (files, lines int) {
	for _, text := range w.files {
		files++
		lines += strings.Count(text, "\n")
	}
	return files, lines
}

// wrote names what a person adds to the source.
func (w way) wrote() string {
	files, lines := w.written()
	if files == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%s: %d lines", strings.Join(slices.Sorted(maps.Keys(w.files)), ", "), lines)
}

func tools(fairlead string) []tool {
	return []tool{
		{
			name: "Fairlead", daemon: "exec fairlead serve", up: "fairlead list", load: "fairlead image import",
			versionCommand: "fairlead version", versions: []string{"crun"}, way: fairleadWay,
			environment: []string{"FAIRLEAD_LOG_LEVEL=warn", "NO_COLOR=1", "FAIRLEAD_BINARY=" + fairlead},
		},
		{
			name: "docker", daemon: "exec dockerd", up: "docker version", load: "docker load -i", versions: []string{"docker.io", "containerd", "runc"},
			environment: []string{"DOCKER_BUILDKIT=1"}, way: engineWay("docker"),
		},
		{
			name: "docker-compose", daemon: "exec dockerd", up: "docker version", load: "docker load -i", versions: []string{"docker-compose"},
			environment: []string{"DOCKER_BUILDKIT=1", "COMPOSE_DOCKER_CLI_BUILD=1"},
			way: composeWay(way{
				start: []string{"docker-compose up -d --build"}, edit: []string{"docker-compose up -d --build"}, stop: []string{"docker-compose down -v"},
			}),
		},
		{name: "podman", load: "podman load -q -i", versions: []string{"podman", "conmon", "netavark"}, way: engineWay("podman")},
		{
			name: "podman-compose", load: "podman load -q -i", versions: []string{"podman-compose"},
			way: composeWay(way{
				start: []string{"podman-compose up -d --build"}, edit: []string{"podman-compose build", "podman-compose down", "podman-compose up -d"},
				stop: []string{"podman-compose down -v"},
			}),
		},
	}
}

func fairleadWay(p program) (way, bool) {
	w := way{start: []string{"fairlead deploy ."}, edit: []string{"fairlead deploy ."}, stop: []string{"fairlead delete ksvc app"}, host: "app.default.localhost"}
	if p.engines == nil {
		w = way{start: []string{"fairlead up --detach"}, edit: []string{"fairlead up --detach"}, stop: []string{"fairlead down --volumes"}, host: "web.default.localhost"}
	}
	return w, true
}

func engineWay(engine string) func(program) (way, bool) {
	return func(p program) (way, bool) {
		build, remove, start := engine+" build -t app .", engine+" rm -f app", engine+" run -d --name app -p 8080:8080 app"
		return way{files: p.engines, start: []string{build, start}, edit: []string{build, remove, start}, stop: []string{remove}}, p.engines != nil
	}
}

func composeWay(w way) func(program) (way, bool) {
	return func(p program) (way, bool) {
		w.files = p.composers
		return w, true
	}
}
