package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/build"
	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// newBuildCommand builds without running.
func newBuildCommand(term *terminal) *cobra.Command {
	var (
		target  clientFlags
		options buildFlags
		name    string
		output  *outputFormat
		explain bool
	)
	cmd := &cobra.Command{
		Use:   "build [PATH]",
		Short: "Build a folder of source into an image of the daemon's registry",
		Long: "Build makes an image of a folder of source (this one if none is named), or of a static binary, puts it into the\n" +
			"registry of the running daemon and prints its reference. --explain only says which builders fit and why.",
		Args: atMostArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "."
			if len(args) == 1 {
				path = args[0]
			}
			if explain {
				return explainBuild(term, path, output)
			}
			return buildIntoRegistry(cmd, term, &target, source{path: path, name: name, options: &options}, output)
		},
	}
	target.addTo(cmd.Flags())
	options.addAllTo(cmd.Flags())
	cmd.Flags().StringVar(&name, "name", "", "name of the image (default: from the folder)")
	cmd.Flags().BoolVar(&explain, "explain", false, "say which builders fit and why, and build nothing")
	output = addOutputFlag(cmd, "json", "yaml")
	return cmd
}

func explainBuild(term *terminal, path string, output *outputFormat) error {
	choices, err := build.Explain(path)
	if err != nil {
		return err
	}
	if output.value != "" {
		return output.print(term.out, choices)
	}
	if len(choices) == 0 {
		return withTry(fmt.Errorf("%s: %w", path, build.ErrNoBuilder), "name the folder with the source, or an image")
	}
	w := tabwriter.NewWriter(term.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "BUILDER\tUSED\tWHY")
	for i, c := range choices {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Builder, map[bool]string{true: "yes", false: "no"}[i == 0], c.Why)
	}
	return w.Flush()
}

func buildIntoRegistry(cmd *cobra.Command, term *terminal, target *clientFlags, from source, output *outputFormat) error {
	abs, err := filepath.Abs(from.path)
	if err != nil {
		return fmt.Errorf("build %s: %w", from.path, err)
	}
	if from.name != "" {
		from.name, err = givenName(from.name)
	} else {
		from.name, err = serviceName(strings.TrimSuffix(filepath.Base(abs), filepath.Ext(abs)))
	}
	if err != nil {
		return err
	}
	from.path, from.namespace = abs, target.namespace
	from.options.exclude = target.notSource(cmd.Flags())
	if err := from.options.check(abs, abs, true); err != nil {
		return err
	}
	c, err := connect(cmd.Context(), target.kubeconfig(cmd.Flags()))
	if err != nil {
		return err
	}
	s, err := describeSession(cmd.Context(), &session{client: c})
	if err != nil {
		return err
	}
	reference, err := s.build(cmd.Context(), term, from)
	if err != nil {
		return err
	}
	if output.value != "" {
		return output.print(term.out, map[string]string{"image": reference})
	}
	fmt.Fprintln(term.out, reference)
	return nil
}

// source is code on this machine and the name its image gets.
type source struct {
	path, namespace, name string
	options               *buildFlags
}

// build makes an image of a source with the rights of this process, puts it into the daemon's registry and gives the
// reference, pinned by digest.
func (s *session) build(ctx context.Context, term *terminal, from source) (string, error) {
	if s.info.Registry == "" {
		return "", withTry(fmt.Errorf("build %s: the daemon runs without its registry", from.path), "start it without --disable registry")
	}
	begin := time.Now()
	request, err := from.options.request(from.path, s.info.Registry)
	if err != nil {
		return "", err
	}
	if request.RegistryToken, err = daemon.ReadRegistryToken(ctx, s.kube); err != nil {
		return "", err
	}
	request.Progress = func(e build.Event) { term.note("%-8s %s", e.Step, e.Text) }
	result, err := build.Build(ctx, request)
	if ctx.Err() != nil {
		return "", context.Cause(ctx) // what an interrupted tool says about that is of no use
	}
	if err != nil {
		return "", asOption(err)
	}
	if from.options.quick {
		result.SBOM = nil
	}
	repository := fmt.Sprintf("%s/%s/%s", s.info.Registry, from.namespace, from.name)
	if err := build.Push(ctx, result, repository+":latest", build.PushOptions{
		PlainHTTP: true, Token: request.RegistryToken, Progress: pushProgress(term),
	}); err != nil {
		return "", err
	}
	term.note("%-8s %s in %s", "built", shortDigest(result.Digest.String()), took(time.Since(begin)))
	return repository + "@" + result.Digest.String(), nil
}

// pushProgress writes a line for each tenth of a large image.
func pushProgress(term *terminal) func(done, total int64) {
	const large, tenths = 32 << 20, 10
	var told int64
	return func(done, total int64) {
		if total < large || done*tenths/total <= told {
			return
		}
		told = done * tenths / total
		term.note("%-8s %d%% of %s", "push", told*tenths, byteSize(total))
	}
}

// build is the step of run and deploy.
func (r *runner) build(ctx context.Context, s *session, path, name string) (string, error) {
	return s.build(ctx, r.term, source{path: path, namespace: r.target.namespace, name: name, options: &r.options})
}

// buildCache is the user's own folder for what makes the next build fast; empty where there is none.
func buildCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "fairlead", "build")
}

func shortDigest(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}
