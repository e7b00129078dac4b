package project

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// webProcess is the process of a Procfile that gets the requests.
const webProcess = "web"

// process is one line of a Procfile.
type process struct {
	name, command string
	line          int
}

var procfileLine = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(\S.*)$`)

func parseProcfile(r io.Reader) ([]process, error) {
	var list []process
	scanner := bufio.NewScanner(r)
	for line := 1; scanner.Scan(); line++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		m := procfileLine.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("line %d: %q is not PROCESS: COMMAND", line, text)
		}
		if slices.ContainsFunc(list, func(p process) bool { return p.name == m[1] }) {
			return nil, fmt.Errorf("line %d: process %s is there twice", line, m[1])
		}
		list = append(list, process{m[1], strings.TrimSpace(m[2]), line})
	}
	return list, scanner.Err()
}

// loadProcfile makes the process web a service and every other an always-on instance, all of one image. The process
// release runs to its end before the others start.
func loadProcfile(file, namespace string) (*Project, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	processes, err := parseProcfile(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	name, err := workloadName(filepath.Base(dir))
	if err != nil {
		return nil, err
	}
	p := &Project{Name: name, File: file}
	slices.SortStableFunc(processes, func(a, b process) int { return rank(a.name) - rank(b.name) })
	for _, one := range processes {
		w := Workload{Name: name, Source: &Source{Dir: dir}}
		container := startedBy(dir, one)
		if one.name == webProcess {
			w.Service = p.newService(namespace, name, corev1.PodSpec{Containers: []corev1.Container{container}})
		} else {
			if w.Name, err = workloadName(name + "-" + one.name); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, one.line, err)
			}
			container.Name = "user-container"
			pod := corev1.PodSpec{Containers: []corev1.Container{container}, RestartPolicy: corev1.RestartPolicyAlways}
			if one.name == releaseProcess {
				pod.RestartPolicy = corev1.RestartPolicyNever
			}
			w.Pod = p.newPod(namespace, w.Name, pod)
		}
		if one.name != releaseProcess && rankedFirst(processes) {
			w.After = []Dependency{{Name: name + "-" + releaseProcess, Until: Done}}
		}
		p.Workloads = append(p.Workloads, w)
	}
	return p, nil
}

// startedBy is the container of a process. The builder itself lets the image of a folder without Dockerfile start its web
// process. An image of a Go program has that program only and no shell: the other processes are it with other arguments.
func startedBy(dir string, one process) corev1.Container {
	words := shellCommand(one.command)
	switch {
	case has(dir, "Dockerfile") || has(dir, "Containerfile"):
		return corev1.Container{Command: words}
	case one.name == webProcess:
		return corev1.Container{}
	case has(dir, "go.mod"):
		return corev1.Container{Args: strings.Fields(one.command)[1:]}
	}
	return corev1.Container{Command: words}
}

func has(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// releaseProcess is what Heroku runs once before a release.
const releaseProcess = "release"

func rankedFirst(processes []process) bool {
	return len(processes) > 0 && processes[0].name == releaseProcess
}

func rank(name string) int {
	switch name {
	case releaseProcess:
		return 0
	case webProcess:
		return 1
	}
	return 2
}

// shellCommand runs a command by the shell where it needs one, as with variables or quotes, and as it is otherwise, for
// images without a shell.
func shellCommand(command string) []string {
	if strings.ContainsAny(command, "$`\"'\\|&;<>()*?[]{}~#=") {
		return []string{"/bin/sh", "-c", "exec " + command}
	}
	return strings.Fields(command)
}
