package build_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/build"
)

// TestGoPackage builds one of several programs, however its folder is written, and names them where none is chosen.
func TestGoPackage(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"go.mod": "module example.com/shop\n\ngo 1.26\n", "cmd/web/main.go": helloGo, "cmd/worker/main.go": helloGo, "lib/lib.go": "package lib\n",
	})
	for _, name := range []string{"./cmd/web", "cmd/web", "example.com/shop/cmd/web", dir + "/cmd/web"} {
		r := mustBuild(t, build.Request{Dir: dir, Go: build.GoOptions{Package: name}})
		file, err := r.Image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := file.Config.Entrypoint; len(got) != 1 || got[0] != "/app/web" {
			t.Errorf("--package %s starts %q", name, got)
		}
	}
	for name, want := range map[string]string{
		"":      "--package ./cmd/web, or ./cmd/worker",
		"./lib": "name one whose name is main",
		"./no":  "name one whose name is main",
	} {
		_, err := build.Build(t.Context(), build.Request{Dir: dir, Go: build.GoOptions{Package: name}})
		var option *build.OptionError
		if !errors.As(err, &option) || !strings.Contains(option.Try(), want) {
			t.Errorf("--package %q: %v", name, err)
		}
	}
}

// TestOptionsOfOtherBuilders refuses settings that would be ignored.
func TestOptionsOfOtherBuilders(t *testing.T) {
	static := map[string]string{"index.html": "hello"}
	program := map[string]string{"go.mod": "module example.com/a\n\ngo 1.26\n", "main.go": helloGo}
	procfile := map[string]string{"go.mod": "module example.com/a\n\ngo 1.26\n", "main.go": helloGo, "Procfile": "web: a\n"}
	for _, test := range []struct {
		files   map[string]string
		change  build.Request
		refused string
	}{
		{static, build.Request{Go: build.GoOptions{Package: "./x"}}, "(--package) means nothing to the static builder"},
		{static, build.Request{Go: build.GoOptions{Ldflags: []string{"-X a=b"}}}, "(--ldflags)"},
		{program, build.Request{Dockerfile: build.DockerfileOptions{Args: map[string]string{"A": "b"}}}, "(--build-arg) means nothing to the go builder"},
		{program, build.Request{Dockerfile: build.DockerfileOptions{Target: "x"}}, "(--target)"},
		{program, build.Request{Dockerfile: build.DockerfileOptions{Secrets: []string{"id=x"}}}, "(--secret)"},
		{program, build.Request{Dockerfile: build.DockerfileOptions{File: "x"}}, "(--file)"},
		{program, build.Request{Builder: "cargo"}, `no builder is called "cargo"`},
		{program, build.Request{Go: build.GoOptions{Package: "."}}, ""},
		{procfile, build.Request{Go: build.GoOptions{Package: "."}}, ""},
		{program, build.Request{Builder: "static", Go: build.GoOptions{Package: "."}}, "(--package)"},
	} {
		q := test.change
		q.Dir = writeFiles(t, test.files)
		err := build.Check(q)
		if test.refused == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		var option *build.OptionError
		if !errors.As(err, &option) || !strings.Contains(err.Error(), test.refused) || option.Try() == "" {
			t.Errorf("%q: %v", test.refused, err)
		}
		if _, built := build.Build(t.Context(), q); built == nil || built.Error() != err.Error() {
			t.Errorf("Build says %v, Check says %v", built, err)
		}
	}
}
