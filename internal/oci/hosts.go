package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// hostsFile has the names that Config.Hosts has ever had, as a JSON list, the latest last.
const hostsFile = "hosts.json"

// maxHosts bounds the names that are remembered; the oldest go. A daemon that is given another port at each start makes two of them.
const maxHosts = 1024

// rememberHosts gives the names of before that do not mean this store any more, after having added those of now.
func (l *layout) rememberHosts(now []string) (past []string, err error) {
	var known []string
	data, err := os.ReadFile(filepath.Join(l.dir, hostsFile))
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("image store: %s: %w", filepath.Join(l.dir, hostsFile), err)
	}
	isNow := func(host string) bool { return slices.Contains(now, host) }
	past = slices.DeleteFunc(slices.Clone(known), isNow)
	all := slices.Concat(past, now)
	slices.Reverse(all) // of a name that comes twice the later one stays
	var latest []string
	for _, host := range all {
		if !slices.Contains(latest, host) && len(latest) < maxHosts {
			latest = append(latest, host)
		}
	}
	slices.Reverse(latest)
	if slices.Equal(latest, known) {
		return past, nil
	}
	if data, err = json.Marshal(latest); err == nil {
		err = l.writeFile(hostsFile, data)
	}
	if err != nil {
		return nil, fmt.Errorf("image store: remember the registry's names: %w", err)
	}
	return past, nil
}

// wasOwn says whether a reference names this store as it could be named once. Only a digest does that for good: another registry may
// listen there now, whose tags are its own.
func (s *Store) wasOwn(r Reference) bool {
	return r.Digest != "" && slices.Contains(s.past, r.Host)
}

// movedError explains why what was asked for at an address that this registry had once could not be had there.
type movedError struct {
	error
	host string
	now  []string
}

func (e *movedError) Unwrap() error { return e.error }

func (e *movedError) Error() string {
	text := fmt.Sprintf("%v (the registry of this machine was at %s once", e.error, e.host)
	if len(e.now) > 0 {
		text += " and is at " + e.now[0] + " now"
	}
	return text + ")"
}

// Try is what the person could do about it.
func (e *movedError) Try() string {
	return "name the image by its digest, or by the registry's address now"
}
