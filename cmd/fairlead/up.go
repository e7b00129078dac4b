package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/object"
	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/project"
)

// upper carries out one `fairlead up`.
type upper struct {
	term    *terminal
	target  clientFlags
	path    string
	detach  bool
	print   bool
	timeout time.Duration
	base    string
	noCache bool

	session *session
	// notSource are folders that no build takes for source.
	notSource []string
	// images are the references that were built, by source.
	images map[string]string
}

func newUpCommand(term *terminal) *cobra.Command {
	u := &upper{term: term, images: map[string]string{}}
	cmd := &cobra.Command{
		Use:   "up [-f FILE|FOLDER]",
		Short: "Run everything that a folder says belongs together",
		Long: "Up runs a Compose file, a Procfile, a func.yaml or a folder of Knative manifests. What speaks HTTP becomes a\n" +
			"service that scales with its requests; everything else, as a database, becomes one always-on instance. Every\n" +
			"key of a file that is not carried out is reported with its line. Ctrl-C ends what it started; --detach keeps\n" +
			"it, until `fairlead down`.",
		Example: "  fairlead up\n  fairlead up -f compose.yaml --detach\n  fairlead up -f manifests/",
		Args:    exactArgs(0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return u.run(cmd) },
	}
	u.target.addTo(cmd.Flags())
	cmd.Flags().StringVarP(&u.path, "file", "f", ".", "file, or folder with one")
	cmd.Flags().BoolVarP(&u.detach, "detach", "d", false, "keep everything and return when it is ready")
	cmd.Flags().BoolVar(&u.print, "print", false, "print the manifests instead of applying them (images are still built)")
	cmd.Flags().StringVar(&u.base, "base", "", "image to build on, or host for this machine's own interpreter (default: the builder's)")
	cmd.Flags().BoolVar(&u.noCache, "no-cache", false, "build again what could be taken from the cache")
	cmd.Flags().DurationVar(&u.timeout, "wait", 5*time.Minute, "how long to wait for each service until it is ready; 0 does not wait")
	return cmd
}

func (u *upper) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	if err := positive("wait", u.timeout); err != nil {
		return err
	}
	kind, file, err := project.Find(u.path)
	if errors.Is(err, project.ErrNothing) {
		return withTry(err, "fairlead run %s", u.path)
	}
	if err != nil {
		return usageError{err}
	}
	var p *project.Project
	if kind != project.Manifests {
		if p, err = loadProject(ctx, kind, file, u.target.namespace); err != nil {
			return err
		}
		for _, note := range p.Notes {
			u.term.note("note: %s", note)
		}
	}
	if err := u.target.resolve(cmd.Flags()); err != nil {
		return err
	}
	u.notSource = u.target.notSource(cmd.Flags())
	if u.session, err = u.open(cmd); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.session.close()) }()
	if p == nil {
		return u.manifests(ctx, file)
	}
	return u.project(ctx, p)
}

// open connects; it starts a daemon in this process only where everything may end with it.
func (u *upper) open(cmd *cobra.Command) (*session, error) {
	kubeconfig := u.target.kubeconfig(cmd.Flags())
	if !u.detach && !u.print {
		return openSession(cmd.Context(), u.term, kubeconfig, u.target.settings)
	}
	c, err := connect(cmd.Context(), kubeconfig)
	if err != nil {
		return nil, err
	}
	return describeSession(cmd.Context(), &session{client: c})
}

// project makes the workloads one after the other, and waits for them all.
func (u *upper) project(ctx context.Context, p *project.Project) error {
	objects, err := object.New(u.session.config, u.term.err)
	if err != nil {
		return err
	}
	existed, err := u.session.projectExists(ctx, u.target.namespace, p.Name)
	if err != nil {
		return err
	}
	if err := u.checkNames(ctx, p); err != nil {
		return err
	}
	if err := u.checkPorts(ctx, p); err != nil {
		return err
	}
	if !u.detach && !u.print && !existed {
		defer u.remove(ctx, p.Name)
	}
	for i := range p.Workloads {
		w := &p.Workloads[i]
		if err := u.workload(ctx, objects, p, w); err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
	}
	if u.print {
		return nil
	}
	for i := range p.Workloads {
		until := project.Ready
		if pod := p.Workloads[i].Pod; pod != nil && pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
			until = project.Done
		}
		if err := u.await(ctx, p, project.Dependency{Name: p.Workloads[i].Name, Until: until}); err != nil {
			return err
		}
		if err := u.awaitPorts(ctx, &p.Workloads[i]); err != nil {
			return err
		}
	}
	if err := u.show(ctx, p); err != nil || u.detach {
		return err
	}
	if existed {
		u.term.note("Project %s was there before: it stays when you press Ctrl-C", p.Name)
	} else {
		u.term.note("Ctrl-C ends project %s; --detach would keep it", p.Name)
	}
	return u.session.followLogs(ctx, u.logs(project.LabelProject+"="+p.Name), u.term.out)
}

func (u *upper) logs(selector string) logQuery {
	return logQuery{
		namespace: u.target.namespace, selector: selector, prefix: true, colour: u.term.human,
		complain: func(err error) { u.term.note("fairlead: %v", err) },
	}
}

// workload waits for what has to come first, builds, and makes one workload.
func (u *upper) workload(ctx context.Context, objects *object.Client, p *project.Project, w *project.Workload) error {
	if !u.print {
		for _, d := range w.After {
			if err := u.await(ctx, p, d); err != nil {
				return err
			}
		}
	}
	if w.Source != nil {
		image, err := u.build(ctx, w)
		if err != nil {
			return err
		}
		if w.Service != nil {
			w.Service.Spec.Template.Spec.Containers[0].Image = image
		} else {
			w.Pod.Spec.Containers[0].Image = image
		}
	}
	if u.print {
		return u.printWorkload(w)
	}
	for _, support := range w.Support {
		if err := u.applyObject(ctx, objects, support); err != nil {
			return err
		}
	}
	if w.Pod != nil {
		return u.session.ensurePod(ctx, w.Pod)
	}
	_, err := u.session.apply(ctx, w.Service)
	return err
}

func (u *upper) printWorkload(w *project.Workload) error {
	all := make([]any, 0, len(w.Support)+1)
	for _, support := range w.Support {
		all = append(all, support)
	}
	if w.Pod != nil {
		all = append(all, w.Pod)
	} else {
		all = append(all, w.Service)
	}
	for _, one := range all {
		text, err := manifestYAML(one)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(u.term.out, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}

// build makes the image of a source once, also where several workloads share it.
func (u *upper) build(ctx context.Context, w *project.Workload) (string, error) {
	options := buildFlags{
		builder: w.Source.Builder, base: u.base, noCache: u.noCache, file: w.Source.Dockerfile, target: w.Source.Target, args: w.Source.Args,
	}
	key := fmt.Sprintf("%s %+v", w.Source.Dir, options)
	if image, built := u.images[key]; built {
		return image, nil
	}
	options.exclude = u.notSource
	from := source{path: w.Source.Dir, namespace: u.target.namespace, name: w.Name, options: &options}
	image, err := u.session.build(ctx, u.term, from)
	if err != nil {
		return "", err
	}
	u.images[key] = image
	return image, nil
}

func (u *upper) applyObject(ctx context.Context, objects *object.Client, made any) error {
	fields, err := manifestFields(made)
	if err != nil {
		return err
	}
	manifest := object.Manifest{Object: &unstructured.Unstructured{Object: fields}, Source: u.path}
	return objects.Apply(ctx, []object.Manifest{manifest}, object.ApplyOptions{Namespace: u.target.namespace, Force: true}, u.term.err)
}

// await waits until a workload has come as far as is asked.
func (u *upper) await(ctx context.Context, p *project.Project, d project.Dependency) error {
	i := slices.IndexFunc(p.Workloads, func(w project.Workload) bool { return w.Name == d.Name })
	if d.Until == project.Started || i < 0 || u.timeout == 0 {
		return nil
	}
	if p.Workloads[i].Pod == nil {
		return u.waitService(ctx, d.Name)
	}
	waiting, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	told := &progress{term: u.term, label: "Waiting for " + d.Name, begin: time.Now()}
	err := u.session.waitPod(waiting, u.target.namespace, d.Name, d.Until == project.Done, told)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return withTry(fmt.Errorf("%s is not ready after %v%s", d.Name, u.timeout, u.session.podMessage(ctx, u.target.namespace, d.Name)), "fairlead events %s; fairlead logs %s", d.Name, d.Name)
	}
	return err
}

// waitService waits until a service as it is now is ready.
func (u *upper) waitService(ctx context.Context, name string) error {
	service, err := u.session.getService(ctx, u.target.namespace, name)
	if err != nil {
		return err
	}
	_, err = u.session.await(ctx, service, patientWait{term: u.term, label: "Waiting for " + name, timeout: u.timeout, failed: name + " is not ready"})
	return err
}

// show prints where everything is.
func (u *upper) show(ctx context.Context, p *project.Project) error {
	t := table{header: []string{"NAME", "KIND", "ADDRESS"}}
	for _, w := range p.Workloads {
		switch {
		case w.Service != nil:
			service, err := u.session.getService(ctx, u.target.namespace, w.Name)
			if err != nil {
				return err
			}
			addresses := append([]string{publicURL(service.Status.URL, u.session.info.Gateway)}, publishedAddresses(&w)...)
			t.add(w.Name, "service", strings.Join(addresses, ", "))
		case w.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
			t.add(w.Name, "job", "")
		default:
			var ports []string
			for _, port := range w.Pod.Spec.Containers[0].Ports {
				ports = append(ports, fmt.Sprintf("%s:%d", w.Name, port.ContainerPort))
			}
			t.add(w.Name, "instance", strings.Join(append(ports, publishedAddresses(&w)...), ", "))
		}
	}
	return t.write(u.term.out, u.term.human)
}

// manifests applies a folder or file of manifests and waits for the services in it.
func (u *upper) manifests(ctx context.Context, path string) error {
	manifests, err := object.ReadManifests(ctx, []string{path}, false, u.term.in)
	if err != nil {
		return asUsage(err)
	}
	if u.print {
		return withTry(usagef("%s holds manifests already", filepath.Clean(path)), "fairlead apply --dry-run=server -f %s", path)
	}
	objects, err := object.New(u.session.config, u.term.err)
	if err != nil {
		return err
	}
	if err := objects.Apply(ctx, manifests, object.ApplyOptions{Namespace: u.target.namespace}, u.term.err); err != nil {
		return err
	}
	t := table{header: []string{"NAME", "KIND", "ADDRESS"}}
	var names []string
	for _, m := range manifests {
		if m.Object.GroupVersionKind() != servingv1.SchemeGroupVersion.WithKind("Service") {
			continue
		}
		if ns := m.Object.GetNamespace(); ns != "" && ns != u.target.namespace {
			continue // waited for by who works in that namespace
		}
		if err := u.waitService(ctx, m.Object.GetName()); err != nil {
			return err
		}
		service, err := u.session.getService(ctx, u.target.namespace, m.Object.GetName())
		if err != nil {
			return err
		}
		names = append(names, service.Name)
		t.add(service.Name, "service", publicURL(service.Status.URL, u.session.info.Gateway))
	}
	if err := t.write(u.term.out, u.term.human); err != nil || u.detach || len(names) == 0 {
		return err
	}
	u.term.note("Ctrl-C ends the following of logs; fairlead down -f %s deletes everything", path)
	return u.session.followLogs(ctx, u.logs(serviceLabel+" in ("+strings.Join(names, ",")+")"), u.term.out)
}

// projectExists tells whether a project has a workload already.
func (c *client) projectExists(ctx context.Context, namespace, name string) (bool, error) {
	options := metav1.ListOptions{LabelSelector: project.LabelProject + "=" + name}
	services, err := c.serving.ServingV1().Services(namespace).List(ctx, options)
	if err != nil {
		return false, fmt.Errorf("look for project %s: %w", name, err)
	}
	pods, err := c.kube.CoreV1().Pods(namespace).List(ctx, options)
	if err != nil {
		return false, fmt.Errorf("look for project %s: %w", name, err)
	}
	return len(services.Items)+len(pods.Items) > 0, nil
}

// remove deletes the project after Ctrl-C.
func (u *upper) remove(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := u.session.deleteProject(ctx, u.term, u.target.namespace, name, false); err != nil {
		u.term.note("fairlead: project %s was not deleted: %v", name, err)
	}
}
