package oci_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

func TestRootFSIsSharedAndSurvives(t *testing.T) {
	dir := t.TempDir()
	open := func() *oci.Store {
		s, err := oci.New(oci.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	d := ocitest.Add(t, s, "team/app", "v1", ocitest.Spec{
		Source: `package main; import "fmt"; func main() { fmt.Println("ran") }`,
		Files:  map[string]string{"etc/motd": "hello"},
	})
	first, err := s.RootFS(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.RootFS(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if first.Lower[0] != second.Lower[0] {
		t.Errorf("the same layer is at %s and at %s", first.Lower[0], second.Lower[0])
	}
	if out, err := exec.Command(filepath.Join(first.Lower[0], "app")).Output(); err != nil || string(out) != "ran\n" {
		t.Errorf("the program prints %q, %v", out, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	again, err := s.RootFS(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Lower[0] != first.Lower[0] {
		t.Errorf("after a restart the layer is at %s, it was at %s", again.Lower[0], first.Lower[0])
	}
}

func TestSecondOwnerIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := oci.New(oci.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := oci.New(oci.Config{Dir: dir}); err == nil {
		t.Error("two stores own one folder")
	}
}
