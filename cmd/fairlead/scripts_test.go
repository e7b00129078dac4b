package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestScriptsOfEveryCommand holds every command to a script of test/e2e in which it succeeds and one in which it is refused: by
// `refused`, which looks at the exit code, the message and what to try. A line that is run on some machines only does not count.
func TestScriptsOfEveryCommand(t *testing.T) {
	names := commandNames(t)
	succeeds, refused := map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob("../../test/e2e/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("the scripts are not there: %v, %v", files, err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(archive.Comment)) {
			arguments, isRefusal := calls(strings.Fields(line))
			if name := commandOf(arguments, names); isRefusal {
				refused[name] = true
			} else {
				succeeds[name] = true
			}
		}
	}
	for _, name := range names {
		if !succeeds[name] {
			t.Errorf("fairlead %s: no script of test/e2e/testdata has it succeed", name)
		}
		if !refused[name] {
			t.Errorf("fairlead %s: no script of test/e2e/testdata has it refused", name)
		}
	}
}

// calls gives the arguments that a line of a script hands to fairlead, and whether they are refused.
func calls(words []string) (arguments []string, refused bool) {
	switch {
	case len(words) > 2 && words[0] == "refused":
		return words[2:], true
	case len(words) > 2 && words[0] == "exec" && words[1] == "fairlead":
		return words[2:], false
	case len(words) > 2 && words[0] == "interrupt" && words[1] == "0": // what only Ctrl-C ends has done what it should
		at := slices.IndexFunc(words[2:], func(w string) bool { return strings.HasSuffix(w, "'") || !strings.HasPrefix(words[2], "'") })
		return words[min(len(words), 2+at+1):], false
	case len(words) > 1 && words[0] == "structured":
		return slices.DeleteFunc(words[1:], func(w string) bool { return w == "-same" }), false
	case len(words) > 0 && words[0] == "daemon":
		return []string{"serve"}, false
	}
	return nil, false
}

// commandOf is the longest name of a command that arguments begin with; a question for help does not count.
func commandOf(arguments, names []string) string {
	best := ""
	for _, name := range names {
		words := strings.Fields(name)
		if len(name) > len(best) && len(words) <= len(arguments) && slices.Equal(words, arguments[:len(words)]) {
			best = name
		}
	}
	if slices.Contains(arguments, "--help") {
		return ""
	}
	return best
}

// TestScriptLines pins which lines of a script count.
func TestScriptLines(t *testing.T) {
	names := []string{"get", "dev", "serve", "image list", "service list"}
	for line, want := range map[string]string{
		"exec fairlead get cm": "get", "refused 2 image list x": "image list refused", "! exec fairlead get cm": "", "[root] exec fairlead get cm": "",
		"interrupt 0 'Watching ' dev x": "dev", "interrupt 0 Ready get -w": "get", "interrupt 130 Ready get": "", "daemon start": "serve",
		"structured -same image list": "image list", "exec fairlead get --help": "", "exec kubectl get cm": "", "exec fairlead image": "",
	} {
		arguments, refused := calls(strings.Fields(line))
		got := commandOf(arguments, names)
		if refused {
			got += " refused"
		}
		if got != want {
			t.Errorf("%s counts as %q, want %q", line, got, want)
		}
	}
}
