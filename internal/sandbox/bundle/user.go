package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// User is who a process runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string
}

// ErrUnknownUser: a user or group name is not in the image's files.
var ErrUnknownUser = errors.New("no such user in the image")

// passwdEntry is one line of /etc/passwd.
type passwdEntry struct {
	name     string
	uid, gid uint32
	home     string
}

// groupEntry is one line of /etc/group.
type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// maxUserFile limits how much of an image's /etc/passwd or /etc/group is read.
const maxUserFile = 4 << 20

// ResolveUser finds the user that an image names: "", "name", "uid", "name:group" or "uid:gid". Names are looked up in etc/passwd
// and etc/group of the topmost of lowers (base first) that has them.
func ResolveUser(user string, lowers []string) (User, error) {
	name, group, hasGroup := strings.Cut(user, ":")
	passwd, err := lookIn(lowers, "etc/passwd")
	if err != nil {
		return User{}, err
	}
	groupData, err := lookIn(lowers, "etc/group")
	if err != nil {
		return User{}, err
	}
	u, login, err := findUser(name, parsePasswd(passwd))
	if err != nil {
		return User{}, err
	}
	groups := parseGroup(groupData)
	if hasGroup && group != "" {
		if u.GID, err = findGroup(group, groups); err != nil {
			return User{}, err
		}
		return u, nil
	}
	for _, g := range groups {
		if login != "" && g.gid != u.GID && slices.Contains(g.members, login) {
			u.Groups = append(u.Groups, g.gid)
		}
	}
	return u, nil
}

// findUser also gives the name that the group file knows the user by.
func findUser(name string, entries []passwdEntry) (User, string, error) {
	id, isNumber := parseID(name)
	if name == "" {
		id, isNumber = 0, true
	}
	for _, e := range entries {
		if (isNumber && e.uid == id) || (!isNumber && e.name == name) {
			return User{UID: e.uid, GID: e.gid, Home: e.home}, e.name, nil
		}
	}
	if !isNumber {
		return User{}, "", fmt.Errorf("user %q: %w: it is not in /etc/passwd", name, ErrUnknownUser)
	}
	home := "/"
	if id == 0 {
		home = "/root"
	}
	return User{UID: id, Home: home}, "", nil
}

func findGroup(name string, entries []groupEntry) (uint32, error) {
	if id, isNumber := parseID(name); isNumber {
		return id, nil
	}
	for _, e := range entries {
		if e.name == name {
			return e.gid, nil
		}
	}
	return 0, fmt.Errorf("group %q: %w: it is not in /etc/group", name, ErrUnknownUser)
}

func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	// The highest value means "no user" to the kernel.
	return uint32(n), err == nil && n < math.MaxUint32
}

// lookIn reads a file from the topmost directory that has it; none is an empty file. A whiteout hides what is below it.
func lookIn(lowers []string, name string) (string, error) {
	for _, dir := range slices.Backward(lowers) {
		data, found, err := readBelow(dir, name)
		if err != nil {
			return "", fmt.Errorf("reading /%s of the image: %w", name, err)
		}
		if found {
			return data, nil
		}
	}
	return "", nil
}

func readBelow(dir, name string) (data string, found bool, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", false, err
	}
	defer root.Close()
	for _, part := range []string{filepath.Dir(name), name} {
		info, err := root.Lstat(part)
		if errors.Is(err, fs.ErrNotExist) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		if info.Mode()&fs.ModeCharDevice != 0 {
			return "", true, nil // an overlay whiteout
		}
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", true, err
	}
	all, err := io.ReadAll(io.LimitReader(f, maxUserFile))
	return string(all), true, err
}

// parsePasswd reads lines name:password:uid:gid:comment:home:shell; others are passed over.
func parsePasswd(data string) []passwdEntry {
	var out []passwdEntry
	for line := range strings.Lines(data) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < 6 || f[0] == "" {
			continue
		}
		uid, ok1 := parseID(f[2])
		gid, ok2 := parseID(f[3])
		if ok1 && ok2 {
			out = append(out, passwdEntry{f[0], uid, gid, f[5]})
		}
	}
	return out
}

// parseGroup reads lines name:password:gid:member,member; others are passed over.
func parseGroup(data string) []groupEntry {
	var out []groupEntry
	for line := range strings.Lines(data) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < 3 || f[0] == "" {
			continue
		}
		gid, ok := parseID(f[2])
		if !ok {
			continue
		}
		e := groupEntry{name: f[0], gid: gid}
		if len(f) > 3 && f[3] != "" {
			e.members = strings.Split(f[3], ",")
		}
		out = append(out, e)
	}
	return out
}
