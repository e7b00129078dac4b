package main

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// baseImage is one that everybody would pull from Docker Hub, made here and given to all tools as the same archive.
type baseImage struct {
	root, name string
	config     v1.Config
}

var baseImages = []baseImage{
	{root: "golang", name: "golang:1.26", config: v1.Config{Env: []string{"PATH=/usr/local/go/bin:/bin", "HOME=/root", "GOTOOLCHAIN=local"}, Cmd: []string{"sh"}}},
	{root: "node", name: "node:22-slim", config: v1.Config{Env: []string{"PATH=/usr/bin:/bin"}, Cmd: []string{"node"}}},
	{root: "redis", name: "redis:7", config: v1.Config{
		Env: []string{"PATH=/usr/bin"}, Cmd: []string{"redis-server"}, WorkingDir: "/data", ExposedPorts: map[string]struct{}{"6379/tcp": {}},
	}},
}

// archive is the file of the image below a folder.
func (b baseImage) archive(dir string) string { return filepath.Join(dir, b.root+".tar") }

// pack writes the root file system below roots as an archive of docker save.
func (b baseImage) pack(roots, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(dir, b.root+".layer")
	if err := tarFolder(filepath.Join(roots, b.root), file); err != nil {
		return err
	}
	defer os.Remove(file)
	layer, err := tarball.LayerFromFile(file)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = "linux", "amd64", b.config
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	tag, err := name.NewTag(b.name)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(b.archive(dir), tag, image)
}

// tarFolder writes a folder as a tar archive whose files belong to root.
func tarFolder(dir, file string) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	archive := tar.NewWriter(out)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return addToTar(archive, dir, path)
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

func addToTar(archive *tar.Writer, dir, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if header.Name, err = filepath.Rel(dir, path); err != nil {
		return err
	}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "root", "root"
	if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(archive, in)
	return err
}
