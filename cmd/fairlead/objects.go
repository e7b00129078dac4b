package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
)

// objectFlags are what the commands about objects have in common.
type objectFlags struct {
	clientFlags
	all            bool
	labels, fields string
}

func (f *objectFlags) addSelection(flags *pflag.FlagSet) {
	f.addTo(flags)
	flags.BoolVarP(&f.all, "all-namespaces", "A", false, "objects of all namespaces")
	flags.StringVarP(&f.labels, "selector", "l", "", "only objects with these labels, as in a=b,c!=d")
	flags.StringVar(&f.fields, "field-selector", "", "only objects with these fields, as in metadata.name=x")
}

func (f *objectFlags) selection() object.Selection {
	return object.Selection{Namespace: f.namespace, All: f.all, Labels: f.labels, Fields: f.fields}
}

// objects connects to the API for commands about objects.
func (f *objectFlags) objects(cmd *cobra.Command, term *terminal) (*object.Client, error) {
	c, err := f.dial(cmd)
	if err != nil {
		return nil, err
	}
	return object.New(c.config, term.err)
}

// targets finds what the arguments of a command name. Where the first is no kind and all are services, they mean these.
func (f *objectFlags) targets(cmd *cobra.Command, c *object.Client, args []string) ([]object.Target, error) {
	targets, err := c.Resolve(args)
	hasSlash := func(arg string) bool { return strings.Contains(arg, "/") }
	if err == nil || len(args) == 0 || slices.ContainsFunc(args, hasSlash) {
		return targets, err
	}
	services, dialErr := f.dial(cmd)
	if dialErr != nil {
		return nil, err
	}
	for _, name := range args {
		if _, notThere := services.getService(cmd.Context(), f.namespace, name); notThere != nil {
			return nil, err
		}
	}
	return c.Resolve(append([]string{"services.serving.knative.dev"}, args...))
}

// asUsage gives the mistakes in a command line that package object found the exit code of a usage error.
func asUsage(err error) error {
	var usage *object.UsageError
	if errors.As(err, &usage) {
		return usageError{err}
	}
	return err
}

// filenameFlag reads manifests with -f and -R.
type filenameFlag struct {
	paths     []string
	recursive bool
}

func (f *filenameFlag) addTo(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.paths, "filename", "f", nil, "manifest: a file, a folder, an address or - for standard input")
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "R", false, "read the subfolders of a folder too")
}

func (f *filenameFlag) manifests(ctx context.Context, term *terminal) ([]object.Manifest, error) {
	return object.ReadManifests(ctx, f.paths, f.recursive, term.in)
}

// dryRunFlag is --dry-run=none|server.
func dryRunFlag(flags *pflag.FlagSet, value *string) {
	flags.StringVar(value, "dry-run", "none", "none, or server: the server checks and answers, and stores nothing")
}

func dryRun(value string) (bool, error) {
	switch value {
	case "none", "server":
		return value == "server", nil
	}
	return false, withTry(usagef("--dry-run %q is not one of none, server", value), "--dry-run server")
}

// positive refuses a duration below zero.
func positive(flag string, d time.Duration) error {
	if d < 0 {
		return usageError{fmt.Errorf("--%s %s is negative", flag, d)}
	}
	return nil
}

// completeObjects completes a kind first, then names of its objects.
func completeObjects(flags *objectFlags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := flags.dial(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		objects, err := object.New(c.config, io.Discard)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		if len(args) == 0 {
			names, err = objects.KindNames()
		} else {
			names, err = objects.ObjectNames(cmd.Context(), args[0], flags.selection())
		}
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
