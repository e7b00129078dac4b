// Command sbom writes the bill of materials of a Go program as an SPDX 2.3 document: its modules with versions and
// checksums, as the Go linker recorded them in the program. Releases run it for each binary.
//
//	sbom PROGRAM FILE
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom PROGRAM FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(program, file string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read the modules of %s: %w", program, err)
	}
	text, err := json.MarshalIndent(describe(info, filepath.Base(program)), "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []item         `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type item struct {
	ID        string     `json:"SPDXID"`
	Name      string     `json:"name"`
	Version   string     `json:"versionInfo,omitempty"`
	Download  string     `json:"downloadLocation"`
	Analyzed  bool       `json:"filesAnalyzed"`
	Concluded string     `json:"licenseConcluded"`
	Declared  string     `json:"licenseDeclared"`
	Copyright string     `json:"copyrightText"`
	Comment   string     `json:"comment,omitempty"`
	Refs      []external `json:"externalRefs,omitempty"`
}

type external struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const unknown = "NOASSERTION"

// describe makes the document. The time in it is the commit's, so that the same program gives the same document.
func describe(info *buildinfo.BuildInfo, name string) document {
	created, commit := time.Unix(0, 0).UTC().Format(time.RFC3339), "unknown"
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.time":
			created = s.Value
		case "vcs.revision":
			commit = s.Value
		}
	}
	d := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: name,
		Namespace: "https://" + info.Main.Path + "/sbom/" + name + "/" + info.Main.Version + "/" + commit,
		Creation:  creation{Created: created, Creators: []string{"Tool: fairlead-sbom"}},
	}
	d.add("SPDXRef-Main", &info.Main)
	d.Relationships = append(d.Relationships, relationship{d.ID, "DESCRIBES", "SPDXRef-Main"})
	d.add("SPDXRef-Go", &debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")})
	for i, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		d.add(fmt.Sprintf("SPDXRef-Module-%d", i+1), m)
	}
	for _, p := range d.Packages[1:] {
		d.Relationships = append(d.Relationships, relationship{"SPDXRef-Main", "DEPENDS_ON", p.ID})
	}
	return d
}

func (d *document) add(id string, m *debug.Module) {
	d.Packages = append(d.Packages, item{
		ID: id, Name: m.Path, Version: m.Version, Download: unknown, Concluded: unknown, Declared: unknown, Copyright: unknown, Comment: m.Sum,
		Refs: []external{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + m.Version}},
	})
}
