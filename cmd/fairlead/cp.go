package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	var complaints bytes.Buffer
	err := c.exec(ctx, remoteCall{pod: c.pod, container: c.container, command: command, in: in, out: out, err: &complaints})
	var status exitStatus
	var missing notExecutable
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status) && status < 126 && complaints.Len() > 0:
		return fmt.Errorf("%s in instance %s: %s", command[0], c.pod.Name, strings.TrimSpace(complaints.String()))
	case errors.As(err, &missing) || errors.As(err, &status) && status >= 126:
		return withTry(fmt.Errorf("instance %s has no %s that works, which cp needs", c.pod.Name, command[0]), "an image with tar, or a volume")
	}
	return err
}

// fetch copies from the instance to this machine.
func (c copier) fetch(ctx context.Context, source, destination string) error {
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	parent, base := path.Split(path.Clean(source))
	if parent == "" {
		parent = "."
	}
	go func() {
		err := c.run(ctx, nil, writer, "tar", "-cf", "-", "-C", parent, "--", base)
		writer.CloseWithError(err)
		ended <- err
	}()
	unpackErr := unpack(reader, base, destination, c.leftOut)
	// What tar still sends must be taken, or it would not end.
	_, drainErr := io.Copy(io.Discard, reader)
	if err := <-ended; err != nil {
		return fmt.Errorf("copy %s from instance %s: %w", source, c.pod.Name, err)
	}
	if err := errors.Join(unpackErr, drainErr); err != nil {
		return fmt.Errorf("copy %s from instance %s: %w", source, c.pod.Name, err)
	}
	return nil
}

// send copies from this machine to the instance.
func (c copier) send(ctx context.Context, source, destination string) error {
	folder, base := destination, filepath.Base(filepath.Clean(source))
	if err := c.run(ctx, nil, io.Discard, "test", "-d", destination); err != nil {
		folder, base = path.Split(path.Clean(destination))
		if folder == "" {
			folder = "."
		}
	}
	if err := statReadable(source); err != nil {
		return err
	}
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		archive := tar.NewWriter(writer)
		err := pack(archive, source, base)
		err = errors.Join(err, archive.Close())
		writer.CloseWithError(err)
		packed <- err
	}()
	err := c.run(ctx, reader, io.Discard, "tar", "-xmf", "-", "-C", folder)
	reader.CloseWithError(io.ErrClosedPipe)
	packErr := <-packed
	if errors.Is(packErr, io.ErrClosedPipe) {
		packErr = nil // tar has ended first, and says why
	}
	if err := errors.Join(packErr, err); err != nil {
		return fmt.Errorf("copy %s to instance %s: %w", source, c.pod.Name, err)
	}
	return nil
}
