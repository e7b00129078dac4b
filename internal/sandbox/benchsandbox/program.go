package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// program is a web server that says hello on $PORT.
type program struct {
	name    string
	missing error    // why it cannot be made here
	root    string   // its root file system
	args    []string // its command line in there
	bare    []string // its command line on the machine
	tag     string   // what its image is called
	archive string   // the image as docker, podman and ctr load it
}

// programs makes the root file systems and the images. only names one of them; empty: all.
func (b *bench) programs(only string) ([]*program, error) {
	var all []*program
	for _, kind := range []struct {
		key  string
		make func(dir string) (*program, error)
	}{{"go", goHello}, {"node", nodeHello}} {
		if only != "" && only != kind.key {
			continue
		}
		p, err := kind.make(filepath.Join(b.dir, kind.key))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
		if p.missing != nil {
			continue
		}
		p.tag = "docker.io/benchsandbox/" + kind.key + ":latest"
		p.archive = filepath.Join(b.dir, kind.key+".tar")
		if err := p.pack(); err != nil {
			return nil, fmt.Errorf("making the image %s: %w", p.tag, err)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no program %q: it is go or node", only)
	}
	return all, nil
}

func goHello(dir string) (*program, error) {
	p := &program{name: "Go", root: dir, args: []string{"/hello"}, bare: []string{filepath.Join(dir, "hello")}}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", p.bare[0], "github.com/fairlead-dev/fairlead/internal/sandbox/benchsandbox/hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the hello: %w: %s", err, out)
	}
	return p, nil
}

const nodeScript = `require("http").createServer((_, answer) => answer.end("hello\n")).listen(process.env.PORT)
`

// library finds the paths in what ldd prints.
var library = regexp.MustCompile(`(/\S+) \(0x`)

// nodeHello takes the machine's Node with the libraries it is linked to, and what Debian's package keeps beside it.
func nodeHello(dir string) (*program, error) {
	p := &program{name: "Node", root: dir}
	node, err := exec.LookPath("node")
	if errors.Is(err, exec.ErrNotFound) {
		p.missing = errors.New("node is not installed (apt-get install nodejs)")
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	if node, err = filepath.EvalSymlinks(node); err != nil {
		return nil, err
	}
	libraries, err := exec.Command("ldd", node).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the libraries of %s: %w", node, err)
	}
	files := []string{node}
	for _, found := range library.FindAllStringSubmatch(string(libraries), -1) {
		files = append(files, found[1])
	}
	for _, sub := range []string{"acorn", "acorn-walk", "cjs-module-lexer", "undici"} {
		files = append(files, filepath.Join("/usr/share/nodejs", sub))
	}
	for _, path := range files {
		if err := copyInto(dir, path); err != nil {
			return nil, fmt.Errorf("copying %s: %w", path, err)
		}
	}
	script := filepath.Join(dir, "hello.js")
	if err := os.WriteFile(script, []byte(nodeScript), 0o644); err != nil {
		return nil, err
	}
	p.args, p.bare = []string{node, "/hello.js"}, []string{node, script}
	return p, nil
}

// copyInto copies a file, or the files of a folder, to the same path below root. What is not there is left out.
func copyInto(root, path string) error {
	return filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		in, err := os.Open(path) // follows links: the copy is a file
		if err != nil {
			return err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil || info.IsDir() {
			return err
		}
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
			return err
		}
		out, err := os.OpenFile(filepath.Join(root, path), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
}

// pack writes the image of the program: one layer and its command line.
func (p *program) pack() error {
	layerFile := p.archive + ".layer"
	if out, err := exec.Command("tar", "-C", p.root, "--owner=0", "--group=0", "-cf", layerFile, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	layer, err := tarball.LayerFromFile(layerFile)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Config.Cmd = runtime.GOARCH, "linux", p.args
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return err
	}
	tag, err := name.NewTag(p.tag)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(p.archive, tag, image)
}
