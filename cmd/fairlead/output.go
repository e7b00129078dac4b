package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// outputFormat is the value of -o: empty is for people, the others are for programs and stay as they are.
type outputFormat struct {
	value   string
	allowed []string
}

// addOutputFlag defines -o with the formats a command knows.
func addOutputFlag(cmd *cobra.Command, allowed ...string) *outputFormat {
	f := &outputFormat{allowed: allowed}
	cmd.Flags().VarP(f, "output", "o", "output format: "+strings.Join(allowed, ", "))
	if err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // The flag was defined in the line above.
	}
	return f
}

// String is the format asked for, Set and Type make it a flag.
func (f *outputFormat) String() string { return f.value }

// Set refuses a format that the command does not have.
func (f *outputFormat) Set(value string) error {
	if !slices.Contains(f.allowed, value) {
		return fmt.Errorf("output format %q is not one of %s", value, strings.Join(f.allowed, ", "))
	}
	f.value = value
	return nil
}

// Type names the value in the help text.
func (f *outputFormat) Type() string { return "format" }

// print writes a value as JSON or YAML, with its names in the order of the API.
func (f *outputFormat) print(w io.Writer, value any) error {
	if f.value == "yaml" {
		text, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		_, err = w.Write(text)
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// dress makes an object fit to be printed: it puts back the kind, which clients drop, and leaves out who manages which
// field, which is most of the text and nobody's question here.
func dress(kind *metav1.TypeMeta, object metav1.Object, gv schema.GroupVersion, name string) {
	kind.APIVersion, kind.Kind = gv.String(), name
	if object != nil {
		object.SetManagedFields(nil)
	}
}
