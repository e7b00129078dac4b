package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestDelegatedVersion2 looks at groups as an ordinary user of a version 2 machine may find them.
func TestDelegatedVersion2(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	for name, c := range map[string]struct {
		own, controllers, procs string
		want                    string // the root of the tree; empty: none
	}{
		"delegated":         {"/user/fairlead", "cpuset cpu io memory pids", self, "/user/fairlead"},
		"started again":     {"/user/fairlead/init", "cpu memory pids", "", "/user/fairlead"},
		"a session's":       {"/user/fairlead", "cpu memory pids", self + "\n1", ""},
		"lacks controllers": {"/user/fairlead", "memory pids", self, ""},
		"somebody else's":   {"/user/other", "cpu memory pids", self, ""},
		"the machine's":     {"/", "cpu memory pids", self, ""},
	} {
		t.Run(name, func(t *testing.T) {
			machine := &Tree{mode: V2, root: t.TempDir()}
			group := filepath.Join(machine.root, "/user/fairlead")
			if err := os.MkdirAll(filepath.Join(group, leaf), 0o755); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{"cgroup.controllers": c.controllers, "cgroup.procs": c.procs} {
				if err := os.WriteFile(filepath.Join(group, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			base := machine.parsePlace("0::" + c.own + "\n")
			got := machine.below(base, delegated)
			if c.want == "" {
				if got.Mode() != None || got.Delegated() {
					t.Errorf("%+v", got)
				}
				return
			}
			if got.Mode() != V2 || got.root != filepath.Join(machine.root, c.want) || got.Base()[machine.root] != c.want {
				t.Errorf("%+v, base %v", got, got.Base())
			}
			if place := got.parsePlace("0::" + c.want + "/x/y\n"); place[got.root] != "/x/y" {
				t.Errorf("place %v", place)
			}
		})
	}
}

// TestDelegatedVersion1 wants every controller that limits are held by.
func TestDelegatedVersion1(t *testing.T) {
	top := t.TempDir()
	machine := &Tree{mode: Hybrid, dirs: map[string]string{"name=systemd": top + "/systemd", "cpuset": top + "/cpuset"}}
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids"} {
		machine.dirs[c] = filepath.Join(top, c)
		if err := os.MkdirAll(filepath.Join(top, c, "mine"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, c, "mine", "cgroup.procs"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const own = "9:name=systemd:/user\n4:memory:/mine\n2:cpu:/mine\n3:cpuacct:/mine\n5:cpuset:/\n6:pids:/mine\n0::/user\n"
	got := machine.below(machine.parsePlace(own), delegated)
	if got.Mode() != Hybrid || got.dirs["memory"] != top+"/memory/mine" || got.dirs["cpuset"] != "" || got.CanFreeze() || len(got.Base()) != 4 {
		t.Errorf("%+v", got)
	}
	if err := os.Remove(filepath.Join(top, "pids/mine/cgroup.procs")); err != nil {
		t.Fatal(err)
	}
	if got := machine.below(machine.parsePlace(own), delegated); got.Mode() != None || !got.Hybrid() {
		t.Errorf("without pids: %+v", got)
	}
}
