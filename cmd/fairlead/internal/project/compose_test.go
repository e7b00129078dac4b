package project

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// folder makes files in a temporary folder called shop and gives its path.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, dir string) (*Project, error) {
	t.Helper()
	kind, file, err := Find(dir)
	if err != nil {
		return nil, err
	}
	return Load(context.Background(), kind, file, "default")
}

func (p *Project) find(t *testing.T, name string) *Workload {
	t.Helper()
	for i := range p.Workloads {
		if p.Workloads[i].Name == name {
			return &p.Workloads[i]
		}
	}
	t.Fatalf("there is no workload %s", name)
	return nil
}

const shop = `services:
  web:
    build: ./web
    ports: ["8080:3000"]
    environment:
      PORT: "3000"
      DB: postgres://db:5432
      MISSING:
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
    network_mode: host
    deploy:
      replicas: 2
      resources:
        limits: {cpus: "0.5", memory: 256M}
      placement: {constraints: [node.role == manager]}
    configs: [{source: motd, target: /etc/motd}]
    secrets: [token]
    volumes: ["./web/static:/static:ro"]
  db:
    image: postgres:17
    ports: ["5432:5432"]
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck: {test: [CMD-SHELL, pg_isready], interval: 2s, retries: 5}
    container_name: my-db
    user: "70:70"
  migrate:
    image: migrate
    command: ["up", "--all"]
    depends_on: [db]
  Big_Worker:
    image: worker
    privileged: true
volumes: {data: {}}
configs: {motd: {content: "welcome"}}
secrets: {token: {file: ./token}}
networks: {back: {}}
`

func TestCompose(t *testing.T) {
	p, err := load(t, folder(t, map[string]string{"compose.yaml": shop, "token": "s3cret", "web/static/a.css": "a"}))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, w := range p.Workloads {
		order = append(order, w.Name)
	}
	if got := strings.Join(order, " "); got != "big-worker db migrate web" {
		t.Errorf("the order is %s", got)
	}
	web, db := p.find(t, "web"), p.find(t, "db")
	if web.Service == nil || web.Source == nil || filepath.Base(web.Source.Dir) != "web" || web.Source.Builder != "" {
		t.Fatalf("web is %+v", web)
	}
	container := web.Service.Spec.Template.Spec.Containers[0]
	if container.Ports[0].ContainerPort != 3000 || len(container.Env) != 1 || container.Env[0].Name != "DB" {
		t.Errorf("web has ports %v and env %v", container.Ports, container.Env)
	}
	if l := container.Resources.Limits; l.Cpu().MilliValue() != 500 || l.Memory().Value() != 256<<20 {
		t.Errorf("web has limits %v", l)
	}
	if web.Service.Spec.Template.Annotations[autoscaling.MinScaleAnnotationKey] != "2" {
		t.Errorf("web has annotations %v", web.Service.Spec.Template.Annotations)
	}
	if len(web.After) != 2 || web.After[0] != (Dependency{"db", Ready}) || web.After[1] != (Dependency{"migrate", Done}) {
		t.Errorf("web comes after %v", web.After)
	}
	var paths []string
	for _, m := range container.VolumeMounts {
		paths = append(paths, m.MountPath)
	}
	if got := strings.Join(paths, " "); got != "/static /etc/motd /run/secrets/token" || len(web.Support) != 3 {
		t.Errorf("web has mounts %s and %d objects beside it", got, len(web.Support))
	}
	if got := web.Service.Annotations[PublishAnnotation]; got != "127.0.0.1:8080=3000" {
		t.Errorf("web is published on %q", got)
	}
	name, _ := db.Support[len(db.Support)-1].(*corev1.Service)
	if name == nil || name.Annotations[PublishAnnotation] != "127.0.0.1:5432=5432" || len(db.Published) != 1 || !strings.HasSuffix(db.Published[0].Place, "compose.yaml:23: services.db.ports.0") {
		t.Errorf("db is published by %+v on %+v", name, db.Published)
	}
	if db.Pod == nil || db.Pod.Spec.RestartPolicy != corev1.RestartPolicyAlways || *db.Pod.Spec.Containers[0].SecurityContext.RunAsUser != 70 {
		t.Fatalf("db is %+v", db.Pod)
	}
	if probe := db.Pod.Spec.Containers[0].ReadinessProbe; probe == nil || probe.PeriodSeconds != 2 || probe.FailureThreshold != 5 || strings.Join(probe.Exec.Command, " ") != "/bin/sh -c pg_isready" {
		t.Errorf("db has probe %v", probe)
	}
	if migrate := p.find(t, "migrate"); migrate.Pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("migrate is restarted %s", migrate.Pod.Spec.RestartPolicy)
	}
	checkNotes(t, p,
		"compose.yaml:12: services.web.network_mode is not supported",
		"compose.yaml:17: services.web.deploy.placement is not supported",
		"compose.yaml:23: services.db.ports.0 is opened for this machine only, as every published port; \"0.0.0.0:5432:5432\" opens it to the network",
		"compose.yaml:20: services.web.volumes.0 is a copy made now",
		"compose.yaml:26: services.db.container_name is not supported",
		"compose.yaml:32: services.Big_Worker is called big-worker here",
		"compose.yaml:32: services.Big_Worker names no port",
		"compose.yaml:34: services.Big_Worker.privileged is not supported",
		"compose.yaml:38: networks is not supported",
	)
}

func checkNotes(t *testing.T, p *Project, wanted ...string) {
	t.Helper()
	var all []string
	for _, n := range p.Notes {
		n.File = filepath.Base(n.File)
		all = append(all, n.String())
	}
	text := strings.Join(all, "\n")
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("there is no note %q in\n%s", want, text)
		}
	}
}

func TestComposeRefused(t *testing.T) {
	for name, test := range map[string]struct{ compose, err string }{
		"no image":         {"services: {a: {command: x}}", "neither an image nor a build context"},
		"lasting volume":   {"services: {a: {image: x, ports: ['80'], volumes: ['data:/d']}}\nvolumes: {data: {}}", "has no volume that lasts"},
		"missing folder":   {"services: {a: {image: x, volumes: ['./nothing:/d']}}", "nothing does not exist"},
		"user by name":     {"services: {a: {image: x, user: me}}", `user "me" is not a number`},
		"a circle":         {"services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}", "cycle"},
		"wrong kind":       {"services: {a: {image: x, x-fairlead-kind: pod}}", "not service or instance"},
		"unknown to all":   {"services: {a: {image: x, imagee: y}}", "imagee"},
		"a port twice":     {"services: {a: {image: x, ports: ['8000:80']}, b: {image: x, ports: ['0.0.0.0:8000:80']}}", "ports.0 publishes 0.0.0.0:8000, which 1: services.a.ports.0 does already"},
		"a name":           {"services: {1a: {image: x}}", `"1a" cannot be a name`},
		"external":         {"services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {external: true}}", "external"},
		"variable missing": {"services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {environment: NO_SUCH_VARIABLE}}", "NO_SUCH_VARIABLE"},
	} {
		p, err := load(t, folder(t, map[string]string{"compose.yaml": test.compose}))
		if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "compose.yaml") {
			t.Errorf("%s: got %+v and error %v, want an error of compose.yaml with %q", name, p, err, test.err)
		}
	}
}

func TestKind(t *testing.T) {
	for keys, wantService := range map[string]bool{
		", ports: ['8080:80']": true, ", ports: ['6379:6379']": false, ", expose: ['5432']": false, ", expose: ['3000']": true, "": false,
		", environment: {PORT: '3000'}":                       true,
		", ports: [{target: 6379, app_protocol: http}]":       true,
		", ports: ['8080:80'], x-fairlead-kind: instance":     false,
		", x-fairlead-kind: service":                          true,
		", ports: ['53:53/udp']":                              false,
		", ports: ['9090:9090', '5432:5432'], command: 'a b'": true,
	} {
		p, err := load(t, folder(t, map[string]string{"compose.yaml": "services: {a: {image: x" + keys + "}}"}))
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		if got := p.Workloads[0].Service != nil; got != wantService {
			t.Errorf("%q is a service: %v, want %v", keys, got, wantService)
		}
	}
}

func TestFind(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"Compose file":                   {"docker-compose.yml": "", "compose.yaml": ""},
		"Procfile":                       {"Procfile": "", "main.go": ""},
		"func.yaml":                      {"func.yaml": ""},
		"manifests":                      {"service.yaml": ""},
		"compose.yaml and Procfile":      {"compose.yaml": "", "Procfile": ""},
		"there is no compose.yaml, func": {"main.go": ""},
	} {
		kind, _, err := Find(folder(t, files))
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && string(kind) != want {
			t.Errorf("%v is %q, %v, want %s", files, kind, err, want)
		}
	}
}

func TestProcfile(t *testing.T) {
	p, err := load(t, folder(t, map[string]string{"Dockerfile": "FROM x", "Procfile": "# all\nworker: bin/work --fast\nweb: bin/web -p $PORT\nrelease: bin/migrate\n"}))
	if err != nil {
		t.Fatal(err)
	}
	web, worker, release := p.find(t, "shop"), p.find(t, "shop-worker"), p.find(t, "shop-release")
	if p.Workloads[0].Name != "shop-release" || release.Pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("the release comes %+v", p.Workloads[0])
	}
	if got := strings.Join(web.Service.Spec.Template.Spec.Containers[0].Command, "|"); got != "/bin/sh|-c|exec bin/web -p $PORT" {
		t.Errorf("web runs %s", got)
	}
	if got := strings.Join(worker.Pod.Spec.Containers[0].Command, "|"); got != "bin/work|--fast" {
		t.Errorf("worker runs %s", got)
	}
	if len(web.After) != 1 || web.After[0] != (Dependency{"shop-release", Done}) {
		t.Errorf("web comes after %v", web.After)
	}
	for _, bad := range []string{"web", "web: a\nweb: b", ": x"} {
		if _, err := load(t, folder(t, map[string]string{"Procfile": bad})); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q gives error %v, want one with a line", bad, err)
		}
	}
}

func TestFunction(t *testing.T) {
	t.Setenv("GREETING", "hi")
	p, err := load(t, folder(t, map[string]string{"func.yaml": `specVersion: 0.36.0
name: greet
runtime: go
build:
  builder: pack
run:
  envs:
  - {name: A, value: "{{ env:GREETING }}"}
deploy:
  options:
    scale: {min: 1, max: 3, target: 20}
    resources: {limits: {memory: 64Mi, concurrency: 10}}
`}))
	if err != nil {
		t.Fatal(err)
	}
	s := p.find(t, "greet").Service
	c := s.Spec.Template.Spec.Containers[0]
	if c.Env[0].Value != "hi" || c.Resources.Limits.Memory().String() != "64Mi" || *s.Spec.Template.Spec.ContainerConcurrency != 10 {
		t.Errorf("got %+v", c)
	}
	if s.Spec.Template.Annotations[autoscaling.TargetAnnotationKey] != "20" {
		t.Errorf("got annotations %v", s.Spec.Template.Annotations)
	}
	checkNotes(t, p, "func.yaml:4: build is not supported")
}

func FuzzUnsupported(f *testing.F) {
	f.Add(shop)
	f.Add("a: &a [*a]")
	f.Add("a: &a {b: *a}")
	f.Add("\r\r0:")
	breaks := regexp.MustCompile("[\n\r\u0085\u2028\u2029]") // what ends a line in YAML 1.1
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDocument("f", []byte(text))
		if err != nil {
			return
		}
		for _, n := range d.unsupported(composeKeys) {
			if n.Line < 1 || n.Line > len(breaks.FindAllString(text, -1))+2 {
				t.Errorf("%s is outside of the file", n)
			}
		}
		d.line("services", "a", "ports", "0")
	})
}

func FuzzProcfile(f *testing.F) {
	f.Add("web: a b\nworker: c $D")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseProcfile(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, p := range list {
			if p.name == "" || len(shellCommand(p.command)) == 0 {
				t.Errorf("%+v is empty", p)
			}
		}
	})
}
