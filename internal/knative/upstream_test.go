package knative

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// moduleDir is where a module's source is on this machine.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

// upstreamDefinitions reads the definitions that the pinned modules publish, by name.
func upstreamDefinitions(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	out := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for module, dirs := range map[string][]string{
		"knative.dev/serving":    {"config/core/300-resources"},
		"knative.dev/networking": {"config"},
		"knative.dev/eventing":   {"config/core/resources", "config/channels/in-memory-channel/resources"},
		"knative.dev/caching":    {"config"},
	} {
		for _, dir := range dirs {
			files, err := filepath.Glob(filepath.Join(moduleDir(t, module), dir, "*.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s has no YAML in %s: %v", module, dir, err)
			}
			for _, file := range files {
				readDefinitions(t, file, out)
			}
		}
	}
	return out
}

func readDefinitions(t *testing.T, file string, out map[string]*apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if crd.Kind == "CustomResourceDefinition" {
			out[crd.Name] = &crd
		}
	}
}

// flatten writes a definition as lines "path value". Descriptions are left out, being our own, and so are the fields
// that are there only to be refused (TestRefusedFieldsReachValidation is about those).
func flatten(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) map[string]string {
	t.Helper()
	crd = crd.DeepCopy()
	crd.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	data, err := json.Marshal(crd)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	flattenValue("", value, out)
	return out
}

func flattenValue(path string, value any, out map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		if v["description"] == refusedDescription {
			return
		}
		for key, inner := range v {
			if _, text := inner.(string); text && key == "description" {
				continue
			}
			short := strings.TrimPrefix(path+"."+key, ".")
			short = strings.Replace(short, ".schema.openAPIV3Schema", "", 1)
			flattenValue(short, inner, out)
		}
		if len(v) == 0 {
			out[path] = "{}"
		}
	case []any:
		for i, inner := range v {
			key := fmt.Sprint(i)
			if m, ok := inner.(map[string]any); ok && strings.HasSuffix(path, "spec.versions") {
				key = m["name"].(string)
			}
			if s, ok := inner.(string); ok && strings.HasSuffix(path, ".required") {
				key = s
			}
			flattenValue(path+"["+key+"]", inner, out)
		}
	default:
		out[path] = fmt.Sprint(v)
	}
}

// deviation is a difference from upstream's YAML that we want: lines whose text matches.
type deviation struct {
	line   *regexp.Regexp
	reason string
	seen   bool
}

// TestDefinitionsLikeUpstream compares every definition with upstream's, line by line: each difference must be one
// of the intended ones, and each intended one must occur.
func TestDefinitionsLikeUpstream(t *testing.T) {
	upstream := upstreamDefinitions(t)
	deviations := intendedDeviations()
	for _, ours := range Definitions() {
		theirs, ok := upstream[ours.Name]
		if !ok {
			t.Errorf("upstream has no definition %s", ours.Name)
			continue
		}
		delete(upstream, ours.Name)
		for _, line := range differences(flatten(t, theirs), flatten(t, ours)) {
			line = ours.Name + " " + line
			if !intended(deviations, line) {
				t.Error(line)
			}
		}
	}
	for name := range upstream {
		if _, known := notServed[name]; !known {
			t.Errorf("upstream's %s is not among our definitions", name)
		}
	}
	for _, d := range deviations {
		if !d.seen {
			t.Errorf("the deviation %q (%s) does not occur: remove it", d.line, d.reason)
		}
	}
}

func intended(deviations []*deviation, line string) bool {
	for _, d := range deviations {
		if d.line.MatchString(line) {
			d.seen = true
			return true
		}
	}
	return false
}

func differences(theirs, ours map[string]string) []string {
	var out []string
	for path, value := range theirs {
		switch own, ok := ours[path]; {
		case !ok:
			out = append(out, fmt.Sprintf("- %s %s", path, value))
		case own != value:
			out = append(out, fmt.Sprintf("~ %s %s -> %s", path, value, own))
		}
	}
	for path, value := range ours {
		if _, ok := theirs[path]; !ok {
			out = append(out, fmt.Sprintf("+ %s %s", path, value))
		}
	}
	slices.Sort(out)
	return out
}
