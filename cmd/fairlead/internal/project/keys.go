package project

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// keys are the keys of a mapping that are carried out; those of a nil value are taken as they are, whatever is below.
type keys map[string]keys

// anyKey stands for names that people choose, as those of services.
const anyKey = "*"

var composeKeys = keys{
	"name": nil, "version": nil, "include": nil,
	"services": {anyKey: {
		"image": nil, "command": nil, "entrypoint": nil, "environment": nil, "env_file": nil, "expose": nil, "depends_on": nil,
		"profiles": nil, "extends": nil, "user": nil, "working_dir": nil, "read_only": nil, "tmpfs": nil, "restart": nil,
		"stop_grace_period": nil, "scale": nil, "mem_limit": nil, "cpus": nil, "annotations": nil,
		"build": {"context": nil, "dockerfile": nil, "target": nil, "args": nil},
		"ports": {"target": nil, "published": nil, "protocol": nil, "app_protocol": nil, "name": nil, "mode": nil, "host_ip": nil},
		"deploy": {"replicas": nil, "resources": {
			"limits": {"cpus": nil, "memory": nil}, "reservations": {"cpus": nil, "memory": nil},
		}},
		"healthcheck": {"test": nil, "interval": nil, "timeout": nil, "retries": nil, "start_period": nil, "disable": nil},
		"volumes":     {"type": nil, "source": nil, "target": nil, "read_only": nil},
		"secrets":     {"source": nil, "target": nil, "mode": nil},
		"configs":     {"source": nil, "target": nil, "mode": nil},
	}},
	"volumes": {anyKey: {"name": nil}},
	"secrets": {anyKey: {"name": nil, "file": nil, "environment": nil}},
	"configs": {anyKey: {"name": nil, "file": nil, "environment": nil, "content": nil}},
}

// reasons say of keys that are left out why nobody needs them here.
var reasons = map[string]string{
	"networks":       "every service reaches every other by its name",
	"links":          "every service reaches every other by its name",
	"container_name": "instances are named after their service",
	"hostname":       "instances are named after their service",
	"logging":        "logs are kept by the daemon: fairlead logs",
	"init":           "an instance has its own process namespace and reaper",
	"develop":        "fairlead dev watches a folder",
	"privileged":     "an instance is never privileged",
}

// document is a YAML file with the places of its keys.
type document struct {
	file string
	root *yaml.Node
}

func readDocument(file string) (*document, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseDocument(file, data)
}

func parseDocument(file string, data []byte) (*document, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &document{file: file, root: &root}, nil
}

// unsupported lists the keys that are not carried out, in the order of the file.
func (d *document) unsupported(known keys) []Note {
	var notes []Note
	d.walk(d.root, known, "", 0, &notes)
	return notes
}

// deepest bounds how far aliases are followed, which could otherwise be made to never end.
const deepest = 32

func (d *document) walk(node *yaml.Node, known keys, path string, depth int, notes *[]Note) {
	if known == nil || depth > deepest {
		return
	}
	switch node.Kind {
	case yaml.DocumentNode:
		for _, child := range node.Content {
			d.walk(child, known, path, depth+1, notes)
		}
	case yaml.AliasNode:
		d.walk(node.Alias, known, path, depth+1, notes)
	case yaml.SequenceNode:
		for i, child := range node.Content {
			d.walk(child, known, fmt.Sprintf("%s[%d]", path, i), depth+1, notes)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			d.walkKey(node.Content[i], node.Content[i+1], known, path, depth, notes)
		}
	}
}

func (d *document) walkKey(key, value *yaml.Node, known keys, path string, depth int, notes *[]Note) {
	if strings.HasPrefix(key.Value, "x-") {
		return
	}
	if key.Tag == "!!merge" {
		d.walk(value, known, path, depth+1, notes)
		return
	}
	below, isKnown := known[key.Value]
	if !isKnown {
		below, isKnown = known[anyKey]
	}
	full := strings.TrimPrefix(path+"."+key.Value, ".")
	if isKnown {
		d.walk(value, below, full, depth+1, notes)
		return
	}
	text := full + " is not supported and left out"
	if reason, has := reasons[key.Value]; has {
		text += ": " + reason
	}
	*notes = append(*notes, Note{d.file, key.Line, text})
}

// line is where a key is, or the nearest above it that is there; 0 if none is.
func (d *document) line(path ...string) int {
	node, line := d.root, 0
	for depth := 0; depth < deepest; depth++ {
		switch {
		case node.Kind == yaml.DocumentNode && len(node.Content) == 1:
			node = node.Content[0]
			continue
		case node.Kind == yaml.AliasNode:
			node = node.Alias
			continue
		case len(path) == 0:
			return line
		}
		next, at := step(node, path[0])
		if next == nil {
			return line
		}
		node, line, path = next, at, path[1:]
	}
	return line
}

// step goes to a key of a mapping or to an element of a sequence by its index.
func step(node *yaml.Node, key string) (*yaml.Node, int) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				return node.Content[i+1], node.Content[i].Line
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && 0 <= i && i < len(node.Content) {
			return node.Content[i], node.Content[i].Line
		}
	}
	return nil, 0
}
