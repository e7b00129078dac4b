package main

// program is one of those that are brought to their first answer. Its source is a folder of examples/.
type program struct {
	name, folder, source string
	// old and changed are what an edit replaces, and by what; answers are what the program says before and after.
	old, changed       string
	answer, newAnswer  string
	processes          []string // as the kernel calls what runs inside
	engines, composers map[string]string
}

// In engines and composers are the files that docker and podman, or their compose programs, need beside the source, as a person
// who knows them writes them: two stages, a cache that outlives a build, nothing else. Fairlead needs none of them; the
// Compose file of the example serves all three.
var programs = []program{
	{
		name: "hello in Go", folder: "hello", source: "main.go", old: "Hello %s!", changed: "Hallo %s!",
		answer: "Hello World!\n", newAnswer: "Hallo World!\n", processes: []string{"hello", "app"},
		engines:   map[string]string{"Dockerfile": goDockerfile},
		composers: map[string]string{"Dockerfile": goDockerfile, "compose.yaml": onlyCompose},
	},
	{
		name: "hello in Node", folder: "hello-node", source: "server.js", old: "Hello ${", changed: "Hallo ${",
		answer: "Hello World from Node!\n", newAnswer: "Hallo World from Node!\n", processes: []string{"node", "MainThread"},
		engines:   map[string]string{"Dockerfile": nodeDockerfile},
		composers: map[string]string{"Dockerfile": nodeDockerfile, "compose.yaml": onlyCompose},
	},
	{
		name: "web and Redis", folder: "compose", source: "web/main.go", old: "This page was", changed: "The page was",
		answer: "This page was seen ", newAnswer: "The page was seen ", processes: []string{"hits", "app", "redis-server"},
		composers: map[string]string{"web/Dockerfile": goDockerfile},
	},
}

const goDockerfile = `FROM golang:1.26 AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/root/.cache/go-build CGO_ENABLED=0 go build -o /app .
FROM scratch
COPY --from=build /app /app
CMD ["/app"]
`

const nodeDockerfile = `FROM node:22-slim
WORKDIR /app
COPY . .
CMD ["node", "server.js"]
`

const onlyCompose = `services:
  app:
    build: .
    ports: ["8080:8080"]
`
