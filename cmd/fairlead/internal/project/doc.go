// Package project reads what a folder says is to be run together, and turns it into objects of the API: a Compose
// file, a Procfile or a func.yaml.
//
//	p, err := project.Load(ctx, ".", "default")
//	for _, note := range p.Notes { ... what was left out, with file and line ... }
//	for _, w := range p.Workloads { ... build w.Source, make w.Support, then w.Service or w.Pod ... }
//
// What speaks HTTP becomes a Knative Service, which scales with its requests; everything else becomes a Pod, one
// instance that is always on. Load reads files and changes nothing. A folder of manifests is none of its business.
package project

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// Labels on everything that a project makes: the name of the project, and of the workload.
const (
	LabelProject  = "fairlead.dev/project"
	LabelWorkload = "fairlead.dev/workload"
)

// Project is a set of workloads that belong together.
type Project struct {
	Name string
	// File is what was read.
	File string
	// Workloads are ordered such that each comes after those it depends on.
	Workloads []Workload
	// Notes say what of the file is not carried out, or otherwise than it is written.
	Notes []Note
}

// Workload is one thing to run. Exactly one of Service and Pod is set; the image of its first container is filled in
// after a build where Source is set.
type Workload struct {
	Name    string
	Source  *Source
	Support []runtime.Object
	Service *servingv1.Service
	Pod     *corev1.Pod
	After   []Dependency
	// Published are the addresses of this machine that lead here; SetPublished changes them.
	Published []Port
}

// publisher is the object that carries the annotation of published ports; nil if there is none.
func (w *Workload) publisher() metav1.Object {
	if w.Service != nil {
		return w.Service
	}
	for _, support := range w.Support {
		if s, is := support.(*corev1.Service); is {
			return s
		}
	}
	return nil
}

// Source is a folder to build the image from.
type Source struct {
	Dir string
	// Builder is empty for the first that fits.
	Builder string
	// Dockerfile, Target and Args (NAME=VALUE) are for the dockerfile builder; empty is its default.
	Dockerfile, Target string
	Args               []string
}

// Until says how far another workload must have come.
type Until int

const (
	// Started means that it was made.
	Started Until = iota
	// Ready means that it answers its probes.
	Ready
	// Done means that it has ended well.
	Done
)

// Dependency is a workload that has to come first.
type Dependency struct {
	Name  string
	Until Until
}

// Note is something a person should know about a line of a file.
type Note struct {
	File string
	Line int // from 1; 0 if the note is about the whole file
	Text string
}

// String is "compose.yaml:12: services.web.network_mode is not supported".
func (n Note) String() string {
	if n.Line == 0 {
		return n.File + ": " + n.Text
	}
	return fmt.Sprintf("%s:%d: %s", n.File, n.Line, n.Text)
}

// Kind is what a path was found to hold.
type Kind string

// What Find tells apart.
const (
	Compose   Kind = "Compose file"
	Function  Kind = "func.yaml"
	Procfile  Kind = "Procfile"
	Manifests Kind = "manifests"
)

// ErrNothing says that a folder has none of the files that Find knows.
var ErrNothing = errors.New("there is no compose.yaml, func.yaml, Procfile or manifest")

// composeNames are the names of a Compose file, in the order in which the specification prefers them.
var composeNames = []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}

// Find tells what a file or folder is and which file says so; for manifests the path itself. A folder with files of
// two kinds is an error, since either could be meant.
func Find(path string) (Kind, string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", "", err
	}
	if !info.IsDir() {
		return kindOf(path), path, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", "", err
	}
	var found []string
	manifests := false
	for _, name := range append(slices.Clone(composeNames), "func.yaml", "Procfile") {
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name }) {
			found = append(found, name)
		}
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		manifests = manifests || !e.IsDir() && (ext == ".yaml" || ext == ".yml" || ext == ".json") && !strings.HasPrefix(e.Name(), "compose.")
	}
	switch {
	case len(found) > 1 && kindOf(found[0]) == kindOf(found[1]) && len(found) == 2, len(found) == 1:
		file := filepath.Join(path, found[0])
		return kindOf(file), file, nil
	case len(found) > 1:
		return "", "", fmt.Errorf("%s has %s: say which with -f", path, strings.Join(found, " and "))
	case manifests:
		return Manifests, path, nil
	}
	return "", "", fmt.Errorf("%s: %w", path, ErrNothing)
}

func kindOf(file string) Kind {
	base := filepath.Base(file)
	switch {
	case base == "Procfile":
		return Procfile
	case base == "func.yaml":
		return Function
	case slices.Contains(composeNames, base) || strings.HasPrefix(base, "compose.") || strings.HasPrefix(base, "docker-compose."):
		return Compose
	}
	return Manifests
}

// Load reads a file that Find has found. Objects are for the namespace given.
func Load(ctx context.Context, kind Kind, file, namespace string) (*Project, error) {
	var p *Project
	var err error
	switch kind {
	case Compose:
		p, err = loadCompose(ctx, file, namespace)
	case Procfile:
		p, err = loadProcfile(file, namespace)
	case Function:
		p, err = loadFunction(file, namespace)
	default:
		return nil, fmt.Errorf("%s holds manifests, which are applied as they are", file)
	}
	if err != nil {
		return nil, err
	}
	if len(p.Workloads) == 0 {
		return nil, fmt.Errorf("%s has nothing to run", file)
	}
	return p, nil
}

// meta is the metadata of whatever a workload makes.
func (p *Project) meta(namespace, name, workload string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{LabelProject: p.Name, LabelWorkload: workload}}
}

// newService is a Knative Service with the labels on its instances too.
func (p *Project) newService(namespace, name string, pod corev1.PodSpec) *servingv1.Service {
	s := &servingv1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: servingv1.SchemeGroupVersion.String(), Kind: "Service"},
		ObjectMeta: p.meta(namespace, name, name),
	}
	s.Spec.Template.Labels = map[string]string{LabelProject: p.Name, LabelWorkload: name}
	s.Spec.Template.Spec.PodSpec = pod
	return s
}

// newPod is an instance that is always on.
func (p *Project) newPod(namespace, name string, pod corev1.PodSpec) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: p.meta(namespace, name, name),
		Spec:       pod,
	}
}
