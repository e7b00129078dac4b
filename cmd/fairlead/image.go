package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/internal/daemon"
	"github.com/fairlead-dev/fairlead/internal/oci"
)

// imageFlags say which daemon's images a command is about.
type imageFlags struct{ target clientFlags }

// newImageCommand groups what can be done with the images of the daemon.
func newImageCommand(term *terminal) *cobra.Command {
	f := &imageFlags{}
	cmd := &cobra.Command{
		Use:   "image",
		Short: "List, tag, pull, remove, export and import the daemon's images",
		Long: "The daemon keeps images in one store, with a registry in front of it that docker, podman, skopeo, crane and\n" +
			"buildah push to and pull from. These commands ask that registry.",
		Args: cobra.ArbitraryArgs,
		RunE: helpOrUnknown,
	}
	f.target.addTo(cmd.PersistentFlags())
	cmd.AddCommand(f.list(term), f.inspect(term), f.tag(term), f.remove(term), f.prune(term), f.pull(term), f.export(term), f.load(term))
	return cmd
}

// client finds the registry of the running daemon.
func (f *imageFlags) client(cmd *cobra.Command) (*oci.Client, error) {
	c, err := connect(cmd.Context(), f.target.kubeconfig(cmd.Flags()))
	if err != nil {
		return nil, err
	}
	info, err := readInfo(cmd.Context(), c.kube)
	if err != nil {
		return nil, err
	}
	if info.Registry == "" {
		return nil, withTry(fmt.Errorf("the daemon runs without its registry"), "start it without --disable registry")
	}
	token, err := daemon.ReadRegistryToken(cmd.Context(), c.kube)
	if err != nil {
		return nil, err
	}
	return oci.NewClient(oci.ClientConfig{Registry: info.Registry, Token: token}), nil
}

func (f *imageFlags) list(term *terminal) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the images with a tag",
		Args:    exactArgs(0),
	}
	output := addOutputFlag(cmd, "json", "yaml")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also those without a tag, and what is attached to images")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := f.client(cmd)
		if err != nil {
			return err
		}
		images, err := client.List(cmd.Context())
		if err != nil {
			return err
		}
		shown := []oci.Summary{}
		for _, image := range images {
			if all || len(image.Tags) > 0 {
				shown = append(shown, image)
			}
		}
		if output.value != "" {
			return output.print(term.out, shown)
		}
		return imageTable(shown, time.Now()).write(term.out, term.human)
	}
	return cmd
}

func imageTable(images []oci.Summary, now time.Time) *table {
	t := &table{header: []string{"REPOSITORY", "TAGS", "DIGEST", "SIZE", "AGE"}}
	for _, image := range images {
		tags := strings.Join(image.Tags, ",")
		if image.Subject != "" {
			tags = "(" + image.ArtifactType + ")"
		}
		t.add(image.Repository, tags, shortDigest(image.Digest.String()), byteSize(image.Bytes), age(metav1.NewTime(image.Pushed), now))
	}
	return t
}

// byteSize writes a number of bytes for people.
func byteSize(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/step, 0
	for value >= step && unit < 3 {
		value /= step
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[unit])
}

func (f *imageFlags) inspect(term *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Show the configuration, layers and attachments of an image",
		Args:  exactArgs(1),
	}
	output := addOutputFlag(cmd, "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := f.client(cmd)
		if err != nil {
			return err
		}
		details, err := client.Inspect(cmd.Context(), args[0])
		if err != nil {
			return imageError(err, "fairlead image list")
		}
		return output.print(term.out, details)
	}
	return cmd
}

func (f *imageFlags) tag(term *terminal) *cobra.Command {
	return &cobra.Command{
		Use:   "tag IMAGE NAME",
		Short: "Give an image one more name",
		Args:  exactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := f.client(cmd)
			if err != nil {
				return err
			}
			if err := client.Tag(cmd.Context(), args[0], args[1]); err != nil {
				return imageError(err, "fairlead image list; a name is REPOSITORY:TAG, as in shop/page:v1")
			}
			term.note("tagged   %s is %s", args[1], args[0])
			return nil
		},
	}
}

func (f *imageFlags) remove(term *terminal) *cobra.Command {
	return &cobra.Command{
		Use:     "remove IMAGE...",
		Aliases: []string{"rm"},
		Short:   "Remove a tag, or an image named by its digest with all its tags",
		Long: "Remove takes the name of an image away, or with IMAGE@DIGEST the image itself. The space is given back by\n" +
			"`fairlead image prune`, or by itself after an hour.",
		Args: atLeastArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := f.client(cmd)
			if err != nil {
				return err
			}
			for _, reference := range args {
				if err := client.Remove(cmd.Context(), reference); err != nil {
					return imageError(err, "fairlead image list")
				}
				term.note("removed  %s", reference)
			}
			return nil
		},
	}
}

func (f *imageFlags) prune(term *terminal) *cobra.Command {
	var q oci.PruneRequest
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove what no tag, revision or instance needs",
		Args:  exactArgs(0),
	}
	output := addOutputFlag(cmd, "json", "yaml")
	cmd.Flags().BoolVar(&q.Now, "now", false, "also what came in during the last hour")
	cmd.Flags().BoolVar(&q.DryRun, "dry-run", false, "only say what would be removed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := f.client(cmd)
		if err != nil {
			return err
		}
		report, err := client.Prune(cmd.Context(), q)
		if err != nil {
			return err
		}
		if output.value != "" {
			return output.print(term.out, report)
		}
		verb := "removed"
		if q.DryRun {
			verb = "would remove"
		}
		fmt.Fprintf(term.out, "%s %s, %s (%s) and %s (%s)\n", verb, plural(report.Manifests, "image"),
			plural(report.Blobs, "blob"), byteSize(report.BlobBytes), plural(report.Layers, "unpacked layer"), byteSize(report.LayerBytes))
		return nil
	}
	return cmd
}

func (f *imageFlags) pull(term *terminal) *cobra.Command {
	var policy string
	cmd := &cobra.Command{
		Use:   "pull IMAGE",
		Short: "Have the daemon fetch an image from its registry",
		Args:  exactArgs(1),
	}
	cmd.Flags().StringVar(&policy, "policy", string(oci.Always), "Always, IfNotPresent or Never")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := f.client(cmd)
		if err != nil {
			return err
		}
		pulled, err := client.Pull(cmd.Context(), oci.PullRequest{Reference: args[0], Policy: oci.Policy(policy)}, pullProgress(term))
		if err != nil && !strings.Contains(err.Error(), "registry cannot be reached") {
			return imageError(err, "an image as in docker.io/library/nginx:1")
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(term.out, pulled.Repository+"@"+pulled.Digest.String())
		return nil
	}
	return cmd
}

// pullProgress writes a line for each blob that is whole, and for large ones in between.
func pullProgress(term *terminal) func(oci.PullProgress) {
	told := map[string]int64{}
	return func(p oci.PullProgress) {
		name := shortDigest(p.Blob.String())
		const tenths = 10
		share := tenths
		if p.Total > 0 {
			share = int(p.Bytes * tenths / p.Total)
		}
		if last, seen := told[name]; seen && int64(share) <= last {
			return
		}
		told[name] = int64(share)
		term.note("%-8s %s %d%% of %s", "pull", name, share*tenths, byteSize(p.Total))
	}
}

func (f *imageFlags) export(term *terminal) *cobra.Command {
	return &cobra.Command{
		Use:   "export IMAGE FILE",
		Short: "Write an image to a file, as the archive of an OCI layout",
		Long: "Export writes an image, with what is attached to it, as the tar archive of an OCI image layout, which\n" +
			"`fairlead image import`, docker load, podman load and skopeo read. FILE may be - for standard output.",
		Args: exactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := f.client(cmd)
			if err != nil {
				return err
			}
			if args[1] == "-" {
				return imageError(client.Export(cmd.Context(), args[0], term.out), "fairlead image list")
			}
			return exportTo(cmd.Context(), client, args[0], args[1])
		},
	}
}

// exportTo leaves no file behind when the export does not end well.
func exportTo(ctx context.Context, client *oci.Client, reference, path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return withTry(fmt.Errorf("export %s: %s exists and is not overwritten", reference, path), "another file name")
	}
	if err != nil {
		return fmt.Errorf("export %s: %w", reference, err)
	}
	err = client.Export(ctx, reference, file)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return imageError(errors.Join(err, os.Remove(path)), "fairlead image list")
	}
	return nil
}

// imageError adds what to try to what the daemon says about the name or content of an image. What is wrong with the way to the
// daemon, or with the disk, has advice of its own.
func imageError(err error, try string) error {
	var away *net.OpError
	if errors.As(err, &away) || errors.Is(err, context.Canceled) || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return withTry(err, "%s", try)
}

func (f *imageFlags) load(term *terminal) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "import FILE",
		Aliases: []string{"load"},
		Short:   "Read images from the archive of an OCI layout, or of docker save",
		Long:    "Import takes the images of an archive into the store and prints their names. FILE may be - for standard input.",
		Args:    exactArgs(1),
	}
	cmd.Flags().StringVar(&name, "name", "", "name for an image that brings none")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := f.client(cmd)
		if err != nil {
			return err
		}
		source := term.in
		if args[0] != "-" {
			file, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("import: %w", err)
			}
			defer file.Close()
			if info, err := file.Stat(); err != nil || info.IsDir() {
				return withTry(errors.Join(err, fmt.Errorf("import: %s is a folder", args[0])), "fairlead build %s, or the archive of an image", args[0])
			}
			source = file
		}
		names, err := client.Import(cmd.Context(), name, source)
		if err != nil {
			return imageError(err, "an archive that fairlead image export, docker save or podman save has written")
		}
		for _, n := range names {
			fmt.Fprintln(term.out, n)
		}
		return nil
	}
	return cmd
}
