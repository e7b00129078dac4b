package main

import (
	"maps"
	"strings"
	"testing"

	"knative.dev/serving/pkg/apis/autoscaling"
)

func TestServiceName(t *testing.T) {
	for from, want := range map[string]string{
		"hello": "hello", "My_App.v2": "my-app-v2", "2048-game": "game", "--x--": "x",
		strings.Repeat("a", 80): strings.Repeat("a", 50), "...": "", "123": "",
	} {
		got, err := serviceName(from)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("serviceName(%q) = %q, %v, want %q", from, got, err, want)
		}
	}
}

func TestScaleAnnotations(t *testing.T) {
	minKey, maxKey := autoscaling.MinScaleAnnotationKey, autoscaling.MaxScaleAnnotationKey
	for scale, want := range map[string]map[string]string{
		"":      nil,
		"3":     {minKey: "3", maxKey: "3"},
		"0..10": {minKey: "0", maxKey: "10"},
		"2..":   {minKey: "2"},
		"..5":   {maxKey: "5"},
	} {
		got, err := scaleAnnotations(scale)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("scaleAnnotations(%q) = %v, %v, want %v", scale, got, err, want)
		}
	}
	for _, scale := range []string{"many", "3..2", "-1", "1..2..3", "0..1001"} {
		if got, err := scaleAnnotations(scale); err == nil {
			t.Errorf("scaleAnnotations(%q) = %v, want it refused", scale, got)
		}
	}
}

func TestParseEnvFile(t *testing.T) {
	env, err := parseEnvFile(strings.NewReader("# a comment\n\nA=1\nexport B=\"two words\"\nC='x=y'\nD=\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range env {
		got[e.Name] = e.Value
	}
	if want := map[string]string{"A": "1", "B": "two words", "C": "x=y", "D": ""}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := parseEnvFile(strings.NewReader("A=1\nnonsense\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want the line named", err)
	}
}

func FuzzParseEnvFile(f *testing.F) {
	f.Add("A=1\n#x\nexport B=\"2\"")
	f.Fuzz(func(t *testing.T, text string) {
		env, err := parseEnvFile(strings.NewReader(text))
		for _, e := range env {
			if err == nil && !variableName.MatchString(e.Name) {
				t.Errorf("%q gave the name %q", text, e.Name)
			}
		}
	})
}

func TestManifestFields(t *testing.T) {
	flags := serviceFlags{env: []string{"A=1"}, scale: "0..3", memory: "64Mi", port: portFlag{number: 9000}, concurrency: 2}
	service, err := flags.service("hello", "default", "registry.example/hello@sha256:00")
	if err != nil {
		t.Fatal(err)
	}
	text, err := manifestYAML(service)
	if err != nil {
		t.Fatal(err)
	}
	const want = `apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
  namespace: default
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/max-scale: "3"
        autoscaling.knative.dev/min-scale: "0"
    spec:
      containerConcurrency: 2
      containers:
      - env:
        - name: A
          value: "1"
        image: registry.example/hello@sha256:00
        ports:
        - containerPort: 9000
        resources:
          limits:
            memory: 64Mi
`
	if got := string(text); strings.ReplaceAll(got, "        name: \"\"\n", "") != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestImageName(t *testing.T) {
	for reference, want := range map[string]string{
		"hello": "hello", "registry.example:5000/team/hello:v1": "hello", "ghcr.io/a/b@sha256:123": "b", "x/y:1@sha256:9": "y",
	} {
		if got := imageName(reference); got != want {
			t.Errorf("imageName(%q) = %q, want %q", reference, got, want)
		}
	}
}

func TestPortFlag(t *testing.T) {
	for text, want := range map[string]portFlag{
		"8080": {"", 8080}, "1": {"", 1}, "65535": {"", 65535}, "h2c:8080": {"h2c", 8080}, "http1:80": {"http1", 80},
		"0": {}, "65536": {}, "x": {}, "": {}, "h2c": {}, "h2c:": {}, ":80": {}, "grpc:80": {}, "H2C:80": {}, "h2c:80:90": {}, "h2c:-1": {},
	} {
		var got portFlag
		if err := got.Set(text); (err == nil) != (want.number != 0) || got != want {
			t.Errorf("--port %q: %+v, %v; want %+v", text, got, err, want)
		}
		if want.number != 0 && got.String() != text {
			t.Errorf("--port %q is shown as %q", text, got.String())
		}
	}
}
