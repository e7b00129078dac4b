// Command ocivalidate holds bundles to the OCI runtime specification with the code of `oci-runtime-tool validate`, and their
// configuration to the schema of the newest specification, which knows fields that the tool does not.
//
//	ocivalidate [-newest FOLDER] BUNDLE...
//
// The tool takes the schema from the web; here it comes out of the module that the tool was compiled with. It is a module of its own
// because the last release of the tool compiles only with older versions of the specification's module.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	multierror "github.com/hashicorp/go-multierror"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	rfc2119 "github.com/opencontainers/runtime-tools/error"
	"github.com/opencontainers/runtime-tools/specerror"
	"github.com/opencontainers/runtime-tools/validate"
	"github.com/sirupsen/logrus"
	"github.com/xeipuuv/gojsonschema"
)

func main() {
	own := flag.String("schema", "", "folder with the schema of the specification "+specs.Version+" (default: that of the Go module)")
	newest := flag.String("newest", "", "folder with the schema of the newest specification")
	flag.Parse()
	bad, err := check(*own, *newest, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "ocivalidate:", err)
		os.Exit(2)
	}
	if bad > 0 {
		os.Exit(1)
	}
}

// check prints what is found, bundle by bundle, and counts the bundles with findings that have no excuse.
func check(own, newest string, bundles []string) (bad int, err error) {
	if len(bundles) == 0 {
		return 0, errors.New("no bundle is named")
	}
	if own == "" {
		if own, err = moduleSchema(); err != nil {
			return 0, err
		}
	}
	logrus.SetLevel(logrus.ErrorLevel) // it warns of checks that it does not have
	http.DefaultTransport = schemaFiles(own)
	for _, bundle := range bundles {
		found, err := validateBundle(bundle, newest)
		if err != nil {
			return bad, fmt.Errorf("%s: %w", bundle, err)
		}
		worst := "ok"
		for _, f := range found {
			if f.excuse == "" {
				worst = "BAD"
			}
		}
		if worst != "ok" {
			bad++
		}
		fmt.Printf("%-4s %s\n", worst, bundle)
		for _, f := range found {
			fmt.Printf("     %s: %s\n", f.level, f.text)
			if f.excuse != "" {
				fmt.Printf("       (%s)\n", f.excuse)
			}
		}
	}
	return bad, nil
}

// moduleSchema finds the schema of the specification that the tool was compiled with.
func moduleSchema() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		return "", fmt.Errorf("finding the schema (run it in its own folder, or give -schema): %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "schema"), nil
}

// schemaFiles answers every request with the file of that name in a folder.
type schemaFiles string

func (s schemaFiles) RoundTrip(r *http.Request) (*http.Response, error) {
	file, err := os.Open(filepath.Join(string(s), path.Base(r.URL.Path)))
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: file, Request: r}, nil
}

// finding is one thing that the tool or a schema says.
type finding struct {
	level, text, excuse string
}

// excuses are findings that stay, by a part of their text, with the reason.
func excuses() map[string]string {
	return map[string]string{
		"mappings requires a new User namespace": "the specification does not say so; runc wants the mappings also of a namespace that is given by its path",
		`"run.oci.seccomp_bpf_data"`:             "it is crun's own name",
	}
}

func validateBundle(bundle, newest string) ([]finding, error) {
	v, err := validate.NewValidatorFromPath(bundle, false, "linux")
	if err != nil {
		return nil, err
	}
	found := findings(v.CheckAll())
	if newest == "" {
		return found, nil
	}
	config, err := filepath.Abs(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, err
	}
	result, err := gojsonschema.Validate(
		gojsonschema.NewReferenceLoader("file://"+filepath.Join(newest, "config-schema.json")), gojsonschema.NewReferenceLoader("file://"+config))
	if err != nil {
		return nil, err
	}
	for _, e := range result.Errors() {
		found = append(found, finding{level: "newest schema", text: e.String()})
	}
	return found, nil
}

// findings tells what the tool says, each with its word in the specification: MUST, SHOULD, MAY. What has none is MUST.
func findings(err error) []finding {
	if err == nil {
		return nil
	}
	if many, ok := err.(*multierror.Error); ok {
		var all []finding
		for _, e := range many.Errors {
			all = append(all, findings(e)...)
		}
		return all
	}
	f := finding{level: "must", text: strings.Join(strings.Fields(err.Error()), " ")}
	if e, ok := err.(*specerror.Error); ok && e.Err.Level < rfc2119.Must {
		f.level = "should"
	}
	for part, excuse := range excuses() {
		if strings.Contains(f.text, part) {
			f.excuse = excuse
		}
	}
	return []finding{f}
}
