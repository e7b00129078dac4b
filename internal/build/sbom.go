package build

import (
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// sbomPackage is one thing inside an image.
type sbomPackage struct {
	name, version string
	purl          string // package URL, as scanners look vulnerabilities up by it
	licence       string // SPDX expression; empty when unknown
}

const spdxMediaType = "application/spdx+json"

// goPackages reads the modules a Go program was built from out of the program itself.
func goPackages(program string) ([]sbomPackage, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("read build information: %w", err)
	}
	version := info.GoVersion[min(len("go"), len(info.GoVersion)):]
	packages := []sbomPackage{{name: "stdlib", version: version, purl: "pkg:golang/stdlib@" + version, licence: "BSD-3-Clause"}}
	add := func(path, version string) {
		packages = append(packages, sbomPackage{name: path, version: version, purl: "pkg:golang/" + path + "@" + version})
	}
	if info.Main.Path != "" {
		add(info.Main.Path, cmp.Or(info.Main.Version, "(devel)"))
	}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		add(d.Path, d.Version)
	}
	return packages, nil
}

var spdxIDForm = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// spdx writes an SPDX 2.3 document. It has no time of its own, so that the same image has the same document.
func spdx(name string, digest v1.Hash, packages []sbomPackage) ([]byte, error) {
	type ref struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	type item struct {
		ID       string `json:"SPDXID"`
		Name     string `json:"name"`
		Version  string `json:"versionInfo,omitempty"`
		Download string `json:"downloadLocation"`
		Analyzed bool   `json:"filesAnalyzed"`
		Licence  string `json:"licenseDeclared"`
		Refs     []ref  `json:"externalRefs,omitempty"`
	}
	type relation struct {
		From string `json:"spdxElementId"`
		Kind string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
	const image = "SPDXRef-Image"
	purl := "pkg:oci/" + name + "@sha256%3A" + digest.Hex
	items := []item{{ID: image, Name: name, Version: digest.String(), Download: "NOASSERTION", Licence: "NOASSERTION", Refs: []ref{{"PACKAGE-MANAGER", "purl", purl}}}}
	relations := []relation{{"SPDXRef-DOCUMENT", "DESCRIBES", image}}
	packages = slices.Clone(packages)
	slices.SortFunc(packages, func(a, b sbomPackage) int { return cmp.Compare(a.purl, b.purl) })
	for i, p := range slices.CompactFunc(packages, func(a, b sbomPackage) bool { return a.purl == b.purl }) {
		id := fmt.Sprintf("SPDXRef-Package-%d-%s", i, spdxIDForm.ReplaceAllString(p.name, "-"))
		items = append(items, item{
			ID: id, Name: p.name, Version: p.version, Download: "NOASSERTION", Licence: cmp.Or(p.licence, "NOASSERTION"),
			Refs: []ref{{"PACKAGE-MANAGER", "purl", p.purl}},
		})
		relations = append(relations, relation{image, "CONTAINS", id})
	}
	return json.Marshal(map[string]any{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
		"documentNamespace": "https://github.com/fairlead-dev/fairlead/spdx/" + digest.Hex,
		"creationInfo":      map[string]any{"created": "1970-01-01T00:00:00Z", "creators": []string{"Tool: fairlead-build"}},
		"packages":          items, "relationships": relations,
	})
}
