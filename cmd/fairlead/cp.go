package main

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
)

func newCpCommand(term *terminal) *cobra.Command {
	var (
		target    clientFlags
		container string
	)
	cmd := &cobra.Command{
		Use:   "cp SOURCE DESTINATION",
		Short: "Copy files to or from an instance",
		Long: "Cp copies a file or folder between this machine and a running instance. One of the two is\n" +
			"SERVICE:PATH or INSTANCE:PATH. A destination that is a folder receives the source inside of it. The image\n" +
			"must contain tar.",
		Example: "  fairlead cp hello:/etc/hosts .\n  fairlead cp ./data hello:/tmp",
		Args:    exactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to := parseEnd(args[0]), parseEnd(args[1])
			if (from.instance == "") == (to.instance == "") {
				return withTry(usagef("one of %s and %s must be SERVICE:PATH", args[0], args[1]), "fairlead cp hello:/etc/hosts .")
			}
			name := from.instance + to.instance
			c, err := target.dial(cmd)
			if err != nil {
				return err
			}
			pod, err := c.instance(cmd.Context(), target.namespace, name)
			if err != nil {
				return err
			}
			copier := copier{client: c, pod: pod, container: container, leftOut: func(what string) {
				term.note("Left out %s: it leads out of what was copied", what)
			}}
			if from.instance != "" {
				return copier.fetch(cmd.Context(), from.path, to.path)
			}
			return copier.send(cmd.Context(), from.path, to.path)
		},
	}
	target.addTo(cmd.Flags())
	cmd.Flags().StringVarP(&container, "container", "c", "", "container (default: the first of yours)")
	return cmd
}

// copyEnd is one end of a copy; instance is empty for this machine.
type copyEnd struct{ instance, path string }

// parseEnd reads NAME:PATH or PATH. A path with a slash before its first colon is one of this machine.
func parseEnd(text string) copyEnd {
	name, rest, found := strings.Cut(text, ":")
	if !found || name == "" || strings.ContainsAny(name, "/.") {
		return copyEnd{path: text}
	}
	if rest == "" {
		rest = "."
	}
	return copyEnd{instance: name, path: rest}
}

// copier copies by running tar inside the instance.
type copier struct {
	*client
	pod       *corev1.Pod
	container string
	leftOut   func(string)
}

// run executes a command inside the instance and makes its complaints the error.
func (c copier) run(ctx context.Context, in io.Reader, out io.Writer, command ...string) error {
	var said complaints
	err := c.exec(ctx, remoteCall{pod: c.pod, container: c.container, command: command, in: in, out: out, err: &said})
	var status exitStatus
	var missing notExecutable
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status) && status < 126 && len(said.first) > 0:
		return withTry(fmt.Errorf("%s in instance %s: %s", command[0], c.pod.Name, said.String()),
			"a path that is there, and that its user may read or write: fairlead exec %s -- ls -la", c.pod.Name)
	case errors.As(err, &missing) || errors.As(err, &status) && status >= 126:
		return withTry(fmt.Errorf("instance %s has no %s that works, which cp needs", c.pod.Name, command[0]), "an image with tar, or a volume")
	}
	return err
}

// complaints keeps the beginning of what a program says on standard error.
type complaints struct {
	first []byte
	more  int // bytes that were not kept
}

func (c *complaints) Write(p []byte) (int, error) {
	const most = 2048
	kept := min(len(p), most-len(c.first))
	c.first = append(c.first, p[:kept]...)
	c.more += len(p) - kept
	return len(p), nil
}

func (c *complaints) String() string {
	text := strings.TrimSpace(string(c.first))
	if c.more > 0 {
		text += fmt.Sprintf("... (%s more)", byteSize(int64(c.more)))
	}
	return text
}

// fetch copies from the instance to this machine. As with cp, a symbolic link that is named itself stands for what it leads to,
// which tar would not send.
func (c copier) fetch(ctx context.Context, source, destination string) error {
	const mostLinks = 8
	_, base := splitRemote(source)
	to, err := placeOf(destination, base)
	if err != nil {
		return fmt.Errorf("copy %s from instance %s: %w", source, c.pod.Name, err)
	}
	from := source
	for range mostLinks {
		err = c.fetchOnce(ctx, from, to)
		var link namedLink
		if !errors.As(err, &link) {
			break
		}
		folder, _ := splitRemote(from)
		if from = link.target; !path.IsAbs(from) {
			from = path.Join(folder, from)
		}
	}
	if err != nil {
		return fmt.Errorf("copy %s from instance %s: %w", source, c.pod.Name, err)
	}
	return nil
}

// splitRemote is the folder and the last part of a path in the instance; the root is "." in itself.
func splitRemote(source string) (folder, base string) {
	folder, base = path.Split(path.Clean(source))
	return cmp.Or(folder, "."), cmp.Or(base, ".")
}

// fetchOnce is fetch without following links. The error is a namedLink where source is one.
func (c copier) fetchOnce(ctx context.Context, source string, to place) error {
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	folder, base := splitRemote(source)
	go func() {
		err := c.run(ctx, nil, writer, "tar", "-cf", "-", "-C", folder, "--", base)
		writer.CloseWithError(err)
		ended <- err
	}()
	unpackErr := unpackTo(reader, base, to, c.leftOut)
	// What tar still sends must be taken, or it would not end.
	_, drainErr := io.Copy(io.Discard, reader)
	if err := <-ended; err != nil {
		return err
	}
	return errors.Join(unpackErr, drainErr)
}

// send copies from this machine to the instance.
func (c copier) send(ctx context.Context, source, destination string) error {
	info, err := os.Stat(source)
	if err == nil {
		err = statReadable(source)
	}
	if err != nil {
		return err
	}
	folder, base, err := c.landing(ctx, info, source, destination)
	if err != nil {
		return fmt.Errorf("copy %s to instance %s: %w", source, c.pod.Name, err)
	}
	// A symbolic link that is named itself stands for what it leads to, as with cp.
	content, err := filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		archive := tar.NewWriter(writer)
		err := pack(archive, content, base)
		err = errors.Join(err, archive.Close())
		writer.CloseWithError(err)
		packed <- err
	}()
	err = c.run(ctx, reader, io.Discard, "tar", "-xmf", "-", "-C", folder)
	reader.CloseWithError(io.ErrClosedPipe)
	packErr := <-packed
	if errors.Is(packErr, io.ErrClosedPipe) {
		packErr = nil // tar has ended first, and says why
	}
	if packErr != nil {
		err = packErr // what tar says of an archive that ends early is no news
	}
	if err != nil {
		return fmt.Errorf("copy %s to instance %s: %w", source, c.pod.Name, err)
	}
	return nil
}

// landing is the folder and the name in the instance under which a source comes to lie. Tar would replace a file by a folder.
func (c copier) landing(ctx context.Context, source os.FileInfo, name, destination string) (folder, base string, err error) {
	base = filepath.Base(filepath.Clean(name))
	if base == ".." {
		base = "."
	}
	if c.run(ctx, nil, io.Discard, "test", "-d", destination) == nil {
		return destination, base, nil
	}
	if !source.IsDir() && strings.HasSuffix(destination, "/") {
		return "", "", withTry(fmt.Errorf("%s is no folder there", destination), "leave out the last /, or: fairlead exec %s -- mkdir %s", c.pod.Name, destination)
	}
	if source.IsDir() && c.run(ctx, nil, io.Discard, "test", "-e", destination) == nil {
		return "", "", withTry(fmt.Errorf("%s is a file there, which a folder does not replace", destination), "another destination")
	}
	folder, base = splitRemote(destination)
	return folder, base, nil
}
