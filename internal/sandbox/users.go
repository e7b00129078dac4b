package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/sandbox/bundle"
	"github.com/fairlead-dev/fairlead/internal/sandbox/helper"
)

// view is the folder of an instance as its runtime sees it.
type view struct {
	dir   string
	users Users
}

// seen is a path of the instance's folder in its view.
func (i *Instance) seen(path string) string {
	rel, err := filepath.Rel(i.dir, path)
	if err != nil {
		return path
	}
	return filepath.Join(i.view.dir, rel)
}

// volumeView is the path of a volume in the view.
func (i *Instance) volumeView(v Volume) string {
	switch {
	case v.HostPath == "":
		return i.seen(volumeDir(i.dir, v))
	case i.view.users.Count > 0:
		return helper.HostPath(i.view.dir, v.Name)
	}
	return v.HostPath
}

// openInstance has the helper make the namespaces of an instance: with users of its own if that can be, without if it need not.
func (m *Manager) openInstance(ctx context.Context, conn *helper.Client, spec Spec, args helper.OpenArgs) (view, []*os.File, error) {
	missing, err := m.withoutUsers(spec)
	if err != nil {
		return view{}, nil, err
	}
	if missing == "" {
		mapped := args
		mapped.Users, mapped.Layers, mapped.Hosts = true, spec.layers(), spec.hosts()
		opened, files, err := conn.Open(ctx, mapped)
		if err == nil {
			return view{dir: opened.View, users: Users{First: opened.Users.First, Count: opened.Users.Count}}, files, nil
		}
		if !errors.Is(err, helper.ErrUsers) && !errors.Is(err, helper.ErrMapping) {
			return view{}, nil, err
		}
		missing = err.Error()
		if errors.Is(err, helper.ErrUsers) {
			m.mu.Lock()
			m.noUsers = missing
			m.mu.Unlock()
		}
	}
	if spec.UserNamespace == UsersRequired {
		return view{}, nil, fmt.Errorf("%w: %s", ErrUserNamespace, missing)
	}
	switch iso := spec.isolation(); {
	case iso.Missing != "":
		m.tellOnce("an instance runs without container isolation", spec.ID, iso.Missing)
	case spec.UserNamespace != UsersOff && !helper.Rootless(): // Info says it already
		m.tellOnce("an instance runs without a user namespace: its root is the machine's, without its powers", spec.ID, missing)
	}
	opened, files, err := conn.Open(ctx, args)
	return view{dir: opened.View, users: Users{Missing: missing}}, files, err
}

// tellOnce logs what an instance lacks, each reason once aloud.
func (m *Manager) tellOnce(what, id, reason string) {
	m.mu.Lock()
	again := m.told[reason]
	if len(m.told) < 1000 {
		m.told[reason] = true
	}
	m.mu.Unlock()
	log := m.log.Warn
	if again {
		log = m.log.Debug
	}
	log(what, "instance", id, "reason", reason)
}

// mappedUsers is how many users an instance with a user namespace has.
const mappedUsers = 1 << 16

// withoutUsers says why an instance cannot have a user namespace; empty: it may try.
func (m *Manager) withoutUsers(spec Spec) (string, error) {
	m.mu.Lock()
	no := m.noUsers
	m.mu.Unlock()
	switch {
	case spec.UserNamespace == UsersOff:
		return "they are turned off", nil
	case spec.Runtime == "process":
		return "the process driver gives none", nil
	case spec.Runtime == "runsc":
		return "gVisor keeps the instance's users to itself", nil
	case helper.Rootless():
		return "the daemon is an ordinary user's: all its instances share one", nil
	case no != "":
		return no, nil
	}
	for _, c := range append(slices.Clone(spec.Init), spec.Containers...) {
		user, err := spec.user(c)
		if err != nil {
			return "", err
		}
		for _, id := range append([]uint32{user.UID, user.GID}, user.Groups...) {
			if id >= mappedUsers {
				return fmt.Sprintf("container %s uses the user or group %d, and a user namespace has those below %d", c.Name, id, mappedUsers), nil
			}
		}
		if names := machineCapabilities(c.CapAdd); len(names) > 0 {
			return fmt.Sprintf("container %s asks for %s, which acts on the whole machine", c.Name, strings.Join(names, ", ")), nil
		}
	}
	return "", nil
}

// machineCapabilities are those of a list that mean nothing in a user namespace.
func machineCapabilities(add []string) (out []string) {
	inside := []string{"NET_ADMIN", "NET_BROADCAST", "SYS_ADMIN", "SYS_PTRACE", "IPC_OWNER", "CHECKPOINT_RESTORE"}
	for _, name := range add {
		short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if !bundle.Usual(short) && !slices.Contains(inside, short) {
			out = append(out, short)
		}
	}
	return out
}

// outside is what a user or group of the instance is on the machine.
func (u Users) outside(id int) (int, error) {
	if u.Count == 0 {
		return id, nil
	}
	if id < 0 || id >= int(u.Count) {
		return 0, fmt.Errorf("the instance has no user or group %d, only those below %d", id, u.Count)
	}
	return int(u.First) + id, nil
}

// inside is what a user or group of the machine is in the instance; nobody if it is not there.
func (u Users) inside(id int) int {
	const nobody = 65534
	switch {
	case u.Count == 0:
		return id
	case id < int(u.First) || id >= int(u.First)+int(u.Count):
		return nobody
	}
	return id - int(u.First)
}

// layers are the directories of all root file systems, each once.
func (s Spec) layers() (out []string) {
	for _, c := range append(slices.Clone(s.Init), s.Containers...) {
		for _, dir := range c.Lowers {
			if !slices.Contains(out, dir) {
				out = append(out, dir)
			}
		}
	}
	return out
}

// hosts are the directories of the machine by the name of their volume.
func (s Spec) hosts() map[string]string {
	out := map[string]string{}
	for _, v := range s.Volumes {
		if v.HostPath != "" {
			out[v.Name] = v.HostPath
		}
	}
	return out
}

// user finds out who a container runs as.
func (s Spec) user(c Container) (bundle.User, error) {
	name := c.User
	if c.RunAsUser != nil {
		name = fmt.Sprint(*c.RunAsUser)
	}
	user, err := bundle.ResolveUser(name, c.Lowers)
	if err != nil {
		return user, err
	}
	if c.RunAsGroup != nil {
		user.GID = uint32(*c.RunAsGroup)
	}
	if c.RunAsNonRoot && user.UID == 0 {
		return user, fmt.Errorf("%w: runAsNonRoot is set, but the user of container %s is root", ErrSpec, c.Name)
	}
	for _, g := range s.Groups {
		user.Groups = append(user.Groups, uint32(g))
	}
	if s.FSGroup != nil {
		user.Groups = append(user.Groups, uint32(*s.FSGroup))
	}
	return user, nil
}
