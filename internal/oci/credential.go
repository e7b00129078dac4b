package oci

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Credential is a login for a registry, or for a part of it.
type Credential struct {
	// Scope is a registry host, perhaps with a path below it: "ghcr.io", "registry.example.com:5000/team".
	Scope string
	// Username and Password are sent as they are.
	Username, Password string
	// IdentityToken, when set, is exchanged for an access token in place of the password.
	IdentityToken string
}

// authFile is the form of docker's config.json and of the auth.json of podman, skopeo and buildah.
type authFile struct {
	Auths       map[string]authEntry `json:"auths"`
	CredHelpers map[string]string    `json:"credHelpers"`
	CredsStore  string               `json:"credsStore"`
}

type authEntry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
}

// ParseCredentials reads the data of an image pull secret: the value of ".dockerconfigjson" or of ".dockercfg".
func ParseCredentials(data []byte) ([]Credential, error) {
	f, err := parseAuthFile(data)
	if err != nil {
		return nil, err
	}
	return f.credentials()
}

func parseAuthFile(data []byte) (authFile, error) {
	var f authFile
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("registry credentials are not JSON: %w", err)
	}
	if f.Auths != nil || f.CredHelpers != nil || f.CredsStore != "" {
		return f, nil
	}
	// The oldest form is the map of registries by itself.
	var old map[string]json.RawMessage
	if err := json.Unmarshal(data, &old); err != nil {
		return f, fmt.Errorf("registry credentials are not an object: %w", err)
	}
	f.Auths = map[string]authEntry{}
	for scope, raw := range old {
		var e authEntry
		if json.Unmarshal(raw, &e) == nil && (e.Auth != "" || e.Username != "" || e.IdentityToken != "") {
			f.Auths[scope] = e
		}
	}
	return f, nil
}

func (f *authFile) credentials() ([]Credential, error) {
	var all []Credential
	for scope, e := range f.Auths {
		c := Credential{Scope: normalScope(scope), Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken}
		if e.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(strings.TrimRight(e.Auth, "\x00"))
			if err != nil {
				return nil, fmt.Errorf("registry credentials for %s: auth is not base64: %w", scope, err)
			}
			user, password, ok := strings.Cut(string(plain), ":")
			if !ok {
				return nil, fmt.Errorf("registry credentials for %s: auth is not user:password", scope)
			}
			c.Username, c.Password = user, strings.TrimRight(password, "\x00")
		}
		if c.Username != "" || c.IdentityToken != "" {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Credential) int { return strings.Compare(a.Scope, b.Scope) })
	return all, nil
}

// normalScope turns the spellings of registries in such files ("https://index.docker.io/v1/") into host[/path].
func normalScope(scope string) string {
	scope = strings.TrimPrefix(strings.TrimPrefix(scope, "https://"), "http://")
	scope = strings.TrimSuffix(scope, "/")
	host, path, _ := strings.Cut(scope, "/")
	if host == "index.docker.io" || host == dockerHubRegistry {
		host = dockerHub
	}
	if path == "v1" || path == "v2" || path == "" {
		return host
	}
	return host + "/" + path
}

// match picks the credential with the longest scope that covers a repository (host/path).
func match(all []Credential, repository string) (Credential, bool) {
	best := -1
	for i, c := range all {
		if repository != c.Scope && !strings.HasPrefix(repository, c.Scope+"/") {
			continue
		}
		if best < 0 || len(c.Scope) > len(all[best].Scope) {
			best = i
		}
	}
	if best < 0 {
		return Credential{}, false
	}
	return all[best], true
}

// defaultAuthFiles lists where podman, skopeo, buildah and docker keep logins, in the order they are asked.
func defaultAuthFiles() []string {
	var files []string
	add := func(parts ...string) {
		if parts[0] != "" {
			files = append(files, filepath.Join(parts...))
		}
	}
	add(os.Getenv("REGISTRY_AUTH_FILE"))
	add(os.Getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	if dir, err := os.UserConfigDir(); err == nil {
		add(dir, "containers", "auth.json")
	}
	add(os.Getenv("DOCKER_CONFIG"), "config.json")
	if home, err := os.UserHomeDir(); err == nil {
		add(home, ".docker", "config.json")
	}
	return files
}

// credentialFor finds the login for a repository: the request's own first, then the files in order.
func (s *Store) credentialFor(ctx context.Context, given []Credential, repository string) (Credential, error) {
	for i := range given {
		given[i].Scope = normalScope(given[i].Scope)
	}
	if c, ok := match(given, repository); ok {
		return c, nil
	}
	files := s.conf.Remotes.AuthFiles
	if files == nil {
		files = defaultAuthFiles()
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Credential{}, fmt.Errorf("registry credentials: %w", err)
		}
		f, err := parseAuthFile(data)
		if err != nil {
			return Credential{}, fmt.Errorf("%s: %w", path, err)
		}
		c, ok, err := f.find(ctx, repository)
		if err != nil {
			return Credential{}, fmt.Errorf("%s: %w", path, err)
		}
		if ok {
			return c, nil
		}
	}
	return Credential{}, nil
}

func (f *authFile) find(ctx context.Context, repository string) (Credential, bool, error) {
	host, _, _ := strings.Cut(repository, "/")
	for scope, helper := range f.CredHelpers {
		if normalScope(scope) == host {
			return askHelper(ctx, helper, scope)
		}
	}
	all, err := f.credentials()
	if err != nil {
		return Credential{}, false, err
	}
	if c, ok := match(all, repository); ok {
		return c, true, nil
	}
	if f.CredsStore == "" {
		return Credential{}, false, nil
	}
	server := host
	if host == dockerHub {
		server = "https://index.docker.io/v1/"
	}
	return askHelper(ctx, f.CredsStore, server)
}

var helperForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

const helperTimeout = 10 * time.Second

// askHelper runs a credential helper as docker does: docker-credential-NAME get, the server on standard input.
func askHelper(ctx context.Context, name, server string) (Credential, bool, error) {
	if !helperForm.MatchString(name) {
		return Credential{}, false, fmt.Errorf("credential helper %q is not a name", name)
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, "get")
	cmd.Stdin = strings.NewReader(server)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if said := stdout.String() + stderr.String(); strings.Contains(strings.ToLower(said), "credentials not found") {
			return Credential{}, false, nil
		}
		return Credential{}, false, fmt.Errorf("credential helper %s for %s: %w: %s", name, server, err, firstLine(stderr.String()+stdout.String()))
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		return Credential{}, false, fmt.Errorf("credential helper %s for %s: its answer is not JSON: %w", name, server, err)
	}
	c := Credential{Scope: normalScope(server), Username: answer.Username, Password: answer.Secret}
	if answer.Username == "<token>" {
		c = Credential{Scope: c.Scope, IdentityToken: answer.Secret}
	}
	return c, true, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
