package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The upstream images are made by ko on a small base with an unprivileged user; the suites look at what follows from
// that: the place of the binary, the user's number, the working directory and a world-writable /tmp.
const (
	imageUser    = 65532
	imageHome    = "/home/nonroot"
	imageBinDir  = "/ko-app"
	imageCommand = "go build"
)

// imagePackages are the programs that the suites run, as paths below testRoot/test_images.
func imagePackages() []string {
	return []string{
		"autoscale", "configmimic", "failing", "grpc-ping", "hellohttp2", "hellovolume", "helloworld", "httpproxy",
		"multicontainer/servingcontainer", "multicontainer/sidecarcontainer", "pizzaplanetv1", "pizzaplanetv2",
		"readiness", "runtime", "singlethreaded", "slowstart", "timeout", "volumes", "wsserver",
	}
}

// buildImages compiles every program into dir; the Go build cache makes the second time cheap.
func (r *runner) buildImages(ctx context.Context, dir string) error {
	for _, pkg := range imagePackages() {
		out := filepath.Join(dir, path.Base(pkg))
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, testRoot+"/test_images/"+pkg)
		cmd.Dir = r.moduleDir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build the image %s (%s): %w", pkg, imageCommand, err)
		}
	}
	return nil
}

// pushImages makes an image of each program in dir and pushes it to the repository as <name>:latest.
func (r *runner) pushImages(ctx context.Context, dir string) error {
	base, err := baseLayer()
	if err != nil {
		return err
	}
	for _, pkg := range imagePackages() {
		program := path.Base(pkg)
		image, err := programImage(base, filepath.Join(dir, program))
		if err != nil {
			return fmt.Errorf("make the image of %s: %w", program, err)
		}
		ref, err := name.ParseReference(r.repository+"/"+program+":latest", name.Insecure)
		if err != nil {
			return fmt.Errorf("name the image of %s: %w", program, err)
		}
		if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
	}
	return nil
}

// programImage is the base layer and the program at /ko-app/<name>, run as the unprivileged user.
func programImage(base v1.Layer, file string) (v1.Image, error) {
	program := filepath.Base(file)
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	layer, err := tarLayer([]tarEntry{
		{name: imageBinDir, mode: 0o755, dir: true},
		{name: path.Join(imageBinDir, program), mode: 0o755, data: data},
	})
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), base, layer)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, imageConfig(image, program))
}

func imageConfig(image v1.Image, program string) *v1.ConfigFile {
	file := &v1.ConfigFile{Architecture: "amd64", OS: "linux"}
	if made, err := image.ConfigFile(); err == nil {
		file.RootFS, file.History = made.RootFS, made.History
	}
	file.Config = v1.Config{
		User:       fmt.Sprint(imageUser),
		Entrypoint: []string{path.Join(imageBinDir, program)},
		WorkingDir: imageHome,
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + imageBinDir,
			"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
			"KO_DATA_PATH=/var/run/ko",
		},
	}
	return file
}

type tarEntry struct {
	name string
	mode int64
	dir  bool
	uid  int
	data []byte
}

// baseLayer is what the programs need besides themselves: users, a home, /tmp.
func baseLayer() (v1.Layer, error) {
	user := fmt.Sprintf("nonroot:x:%d:%d:nonroot:%s:/sbin/nologin\n", imageUser, imageUser, imageHome)
	return tarLayer([]tarEntry{
		{name: "/etc", mode: 0o755, dir: true},
		{name: "/etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/sbin/nologin\n" + user)},
		{name: "/etc/group", mode: 0o644, data: fmt.Appendf(nil, "root:x:0:\nnonroot:x:%d:\n", imageUser)},
		{name: "/etc/nsswitch.conf", mode: 0o644, data: []byte("hosts: files dns\n")},
		{name: "/home", mode: 0o755, dir: true},
		{name: imageHome, mode: 0o700, dir: true, uid: imageUser},
		{name: "/root", mode: 0o700, dir: true},
		{name: "/tmp", mode: 0o1777, dir: true},
		{name: "/var", mode: 0o755, dir: true},
		{name: "/var/run", mode: 0o755, dir: true},
		{name: "/var/run/ko", mode: 0o755, dir: true},
	})
}

func tarLayer(entries []tarEntry) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		header := &tar.Header{Name: e.name[1:], Mode: e.mode, Uid: e.uid, Gid: e.uid, Size: int64(len(e.data)), Typeflag: tar.TypeReg}
		if e.dir {
			header.Name, header.Typeflag = header.Name+"/", tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}
