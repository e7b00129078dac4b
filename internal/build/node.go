package build

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const nodeBase = "docker.io/library/node:22-slim"

// packageJSON is what matters here of a package.json.
type packageJSON struct {
	Name            string
	Version         string
	Main            string
	Scripts         map[string]string
	Dependencies    map[string]string
	Bin             json.RawMessage
	OptionalDeps    map[string]string `json:"optionalDependencies"`
	PackageManager  string            `json:"packageManager"`
	DevDependencies map[string]string `json:"devDependencies"`
}

func readPackageJSON(dir string) (packageJSON, error) {
	var p packageJSON
	data, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("package.json: %w", err)
	}
	return p, nil
}

func detectNode(dir string) (string, error) {
	if !exists(dir, "package.json") {
		return "", nil
	}
	p, err := readPackageJSON(dir)
	if err != nil {
		return "", err
	}
	start, err := nodeStart(dir, p)
	if err != nil {
		return "", nil //nolint:nilerr // a package without anything to start, perhaps the sources of a static page
	}
	return "package.json starts " + strings.Join(start, " "), nil
}

// nodeStart gives the command of a package: its start script, its main file, or the usual names.
func nodeStart(dir string, p packageJSON) ([]string, error) {
	if script := p.Scripts["start"]; script != "" {
		return splitCommand(script), nil
	}
	for _, file := range []string{p.Main, "server.js", "index.js", "app.js"} {
		if file != "" && exists(dir, file) {
			return []string{"node", file}, nil
		}
	}
	return nil, errors.New("package.json has no start script and no main file: add \"scripts\": {\"start\": \"node server.js\"}")
}

// splitCommand takes a command line apart; one that needs a shell is given to sh as it is.
func splitCommand(line string) []string {
	words := strings.Fields(line)
	if strings.ContainsAny(line, "|&;<>()$`\\\"'*?[]#~!{}\n") || strings.Contains(words[0], "=") {
		if !strings.ContainsAny(line, "|&;\n") {
			line = "exec " + line // so that the signal to stop reaches the program, not the shell
		}
		return []string{"sh", "-c", line}
	}
	return words
}

// lockFile finds the lock of a package. Without dependencies none is needed.
func lockFile(dir string, p packageJSON) (string, error) {
	for _, name := range []string{"npm-shrinkwrap.json", "package-lock.json"} {
		if exists(dir, name) {
			return name, nil
		}
	}
	if len(p.Dependencies)+len(p.OptionalDeps) == 0 {
		return "", nil
	}
	for _, other := range []string{"yarn.lock", "pnpm-lock.yaml", "bun.lock"} {
		if exists(dir, other) {
			return "", fmt.Errorf("%s is of a package manager this builder does not run: use a Dockerfile, or npm install --package-lock-only", other)
		}
	}
	return "", errors.New("there are dependencies but no lock file, so no two builds would be the same: npm install --package-lock-only")
}

func buildNode(ctx context.Context, j *job) (built, error) {
	p, err := readPackageJSON(j.Dir)
	if err != nil {
		return built{}, err
	}
	start, err := nodeStart(j.Dir, p)
	if err != nil {
		return built{}, err
	}
	return j.nodeImage(ctx, p, start)
}

func (j *job) nodeImage(ctx context.Context, p packageJSON, start []string) (built, error) {
	lock, err := lockFile(j.Dir, p)
	if err != nil {
		return built{}, err
	}
	goos, arch := j.platform()
	spec := imageSpec{os: goos, arch: arch, config: v1.Config{WorkingDir: "/app", User: "65532:65532", Env: []string{"NODE_ENV=production"}}}
	if _, err := j.useBase(ctx, &spec, nodeBase, j.hostNode); err != nil {
		return built{}, err
	}
	var packages []sbomPackage
	if lock != "" {
		locked, err := readLock(filepath.Join(j.Dir, lock))
		if err != nil {
			return built{}, err
		}
		packages = npmPackages(locked)
		if len(packages) > 0 || locked == nil {
			modules, err := j.nodeModules(ctx, lock, locked)
			if err != nil {
				return built{}, err
			}
			spec.layers = append(spec.layers, modules)
		}
	}
	files, err := j.sourceFiles(j.Dir, "app", skipUsual)
	if err != nil {
		return built{}, err
	}
	if err := spec.add(j, files); err != nil {
		return built{}, err
	}
	spec.config.Entrypoint = nodeEntrypoint(start)
	image, err := spec.image(ctx, j)
	return built{image: image, packages: packages}, err
}

// nodeEntrypoint names tools of the package's own dependencies by their path: they start through "#!/usr/bin/env node",
// which a small image does not have.
func nodeEntrypoint(start []string) []string {
	switch start[0] {
	case "node", "sh", "npm", "npx":
		return start
	}
	return append([]string{"node", "node_modules/.bin/" + start[0]}, start[1:]...)
}

// nodeModules makes the layer of production dependencies. npm runs on a copy of the package's description only, unless
// the lock names folders of the source.
func (j *job) nodeModules(ctx context.Context, lock string, locked map[string]lockedPackage) (*layer, error) {
	inputs := []string{"package.json", lock, ".npmrc"}
	data, err := os.ReadFile(filepath.Join(j.Dir, lock))
	if err != nil {
		return nil, err
	}
	whole := strings.Contains(string(data), `"link": true`) || strings.Contains(string(data), `"file:`)
	var seen []any
	for _, name := range inputs {
		data, err := os.ReadFile(filepath.Join(j.Dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		seen = append(seen, name, data)
	}
	if whole {
		files, err := j.sourceFiles(j.Dir, "app", skipUsual)
		if err != nil {
			return nil, err
		}
		sum, err := hashFiles(files)
		if err != nil {
			return nil, err
		}
		seen = append(seen, sum)
	}
	npm, npmErr := findProgram("npm")
	return j.cachedLayer(keyOf("npm", stamp(npm), j.Platforms[0], seen), func() ([]layerFile, func(), error) {
		if own := j.ownModules(locked); own != nil {
			j.say("install", "node_modules has what %s says", lock)
			files, err := own.files(j.Dir)
			return files, func() {}, err
		}
		if npmErr != nil {
			return nil, nil, fmt.Errorf("npm is not installed: install it, or give a Dockerfile: %w", npmErr)
		}
		return j.npmInstall(ctx, inputs, whole)
	})
}

func (j *job) npmInstall(ctx context.Context, inputs []string, whole bool) ([]layerFile, func(), error) {
	temp, err := os.MkdirTemp("", "fairlead-npm-")
	if err != nil {
		return nil, nil, err
	}
	done := func() { os.RemoveAll(temp) }
	fail := func(err error) ([]layerFile, func(), error) { done(); return nil, nil, err }
	if whole {
		err = os.CopyFS(temp, os.DirFS(j.Dir))
	} else {
		for _, name := range inputs {
			if exists(j.Dir, name) {
				err = errors.Join(err, copyFile(filepath.Join(j.Dir, name), filepath.Join(temp, name), 0o600))
			}
		}
	}
	if err != nil {
		return fail(err)
	}
	j.say("install", "npm ci --omit=dev")
	args := []string{"npm", "ci", "--omit=dev", "--prefer-offline", "--no-audit", "--no-fund", "--no-progress", "--no-update-notifier"}
	if _, err := j.run(ctx, temp, npmEnvironment(temp), args...); err != nil {
		return fail(explainNetwork(err, "a network, or, where there is one, npm ci in the folder: the next build takes node_modules, or npm's cache"))
	}
	modules := filepath.Join(temp, "node_modules")
	if err := os.MkdirAll(modules, 0o755); err != nil { // npm makes none when there is nothing to install
		return fail(err)
	}
	files, err := folderFiles(modules, "app/node_modules", func(rel string, _ fs.DirEntry) bool { return rel == ".package-lock.json" || rel == ".cache" })
	if err != nil {
		return fail(err)
	}
	return files, done, nil
}

// npmEnvironment has npm, which tries for minutes otherwise, give up soon where there is no network, unless the user says how it tries.
func npmEnvironment(dir string) []string {
	env := []string{"NODE_ENV=production"}
	if own, err := os.ReadFile(filepath.Join(dir, ".npmrc")); err == nil && strings.Contains(string(own), "fetch-") {
		return env
	}
	return append(env, unlessSet([][2]string{
		{"npm_config_fetch_retries", "1"}, {"npm_config_fetch_retry_mintimeout", "500"}, {"npm_config_fetch_retry_maxtimeout", "1000"}, {"npm_config_fetch_timeout", "30000"},
	})...)
}

// hostNode makes a base of this machine's node.
func (j *job) hostNode(ctx context.Context, spec *imageSpec) error {
	program, err := findProgram("node")
	if err != nil {
		return fmt.Errorf("node is not installed on this machine either: %w", err)
	}
	base, err := j.cachedLayer(keyOf("host node", stamp(program)), func() ([]layerFile, func(), error) {
		h := newHostProgram()
		h.addFile(program, "usr/local/bin/node", 0o755)
		for _, dir := range []string{"/usr/share/nodejs"} { // where Debian keeps parts of node itself
			if strings.HasPrefix(program, "/usr/bin/") && exists(dir) {
				if err := h.addFolder(dir, strings.TrimPrefix(dir, "/"), nil); err != nil {
					return nil, nil, err
				}
			}
		}
		err := errors.Join(h.addLibraries(ctx, program), h.addShell(ctx))
		return h.list(), func() {}, err
	})
	if err != nil {
		return err
	}
	spec.layers = append(spec.layers, base)
	return nil
}

// npmPackages lists what a lock installs in production.
func npmPackages(locked map[string]lockedPackage) []sbomPackage {
	var packages []sbomPackage
	for where, p := range locked {
		i := strings.LastIndex(where, "node_modules/")
		if i < 0 || p.Dev {
			continue
		}
		if p.Link {
			p = locked[p.Resolved]
		}
		name := cmp.Or(p.Name, where[i+len("node_modules/"):])
		licence, _ := p.License.(string)
		purl := "pkg:npm/" + strings.Replace(name, "@", "%40", 1) + "@" + p.Version
		packages = append(packages, sbomPackage{name: name, version: p.Version, purl: purl, licence: licence})
	}
	slices.SortFunc(packages, func(a, b sbomPackage) int { return cmp.Compare(a.purl, b.purl) })
	return packages
}
