package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	revresources "knative.dev/serving/pkg/reconciler/revision/resources"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// translator turns a pod into what the sandbox runs. It is made for one instance.
type translator struct {
	meta    metav1.ObjectMeta
	pod     corev1.PodSpec
	ip      string
	serving int32 // the port that serves; 0 for plain pods
	h2c     bool
	digests map[string]string // container name to image by digest

	sources   sources
	images    *oci.Store
	volumeDir string
	now       func() time.Time
	token     func(context.Context, tokenRequest) (string, error)
	access    *apiAccess // nil: without
	claim     func(namespace, name string) error
}

// tokenRequest asks for a token of a service account.
type tokenRequest struct {
	namespace, account, audience string
	life                         time.Duration
}

// translated is a spec with what has to be given back and looked after.
type translated struct {
	spec    sandbox.Spec
	roots   []*oci.RootFS
	refresh time.Time // when the volumes have to be made anew; zero: never
}

// close gives the root file systems back, once nothing mounts them.
func (t *translated) close() {
	for _, r := range t.roots {
		r.Close() //nolint:errcheck,gosec // only counts down
	}
	t.roots = nil
}

// translate makes the whole spec. On an error nothing is held.
func (t *translator) translate(ctx context.Context) (_ *translated, err error) {
	out := &translated{spec: sandbox.Spec{
		Hostname: hostname(&t.pod, t.meta.Name),
		Search:   searchDomains(t.meta.Namespace),
		Restart:  restartPolicy(t.pod.RestartPolicy),
		Grace:    seconds(t.pod.TerminationGracePeriodSeconds),
		Runtime:  runtimeName(t.pod.RuntimeClassName),
	}}
	defer func() {
		if err != nil {
			out.close()
		}
	}()
	if sc := t.pod.SecurityContext; sc != nil {
		out.spec.FSGroup, out.spec.Groups = sc.FSGroup, sc.SupplementalGroups
	}
	volumes, err := t.volumes(ctx)
	if err != nil {
		return nil, err
	}
	out.spec.Volumes, out.refresh = volumes.volumes, volumes.refresh
	for i := range t.pod.InitContainers {
		c, err := t.container(ctx, &t.pod.InitContainers[i], out)
		if err != nil {
			return nil, fmt.Errorf("init container %q: %w", t.pod.InitContainers[i].Name, err)
		}
		out.spec.Init = append(out.spec.Init, c)
	}
	for i := range t.pod.Containers {
		if t.pod.Containers[i].Name == revresources.QueueContainerName && t.serving != 0 {
			continue
		}
		c, err := t.container(ctx, &t.pod.Containers[i], out)
		if err != nil {
			return nil, fmt.Errorf("container %q: %w", t.pod.Containers[i].Name, err)
		}
		out.spec.Containers = append(out.spec.Containers, c)
	}
	return out, nil
}

func (t *translator) container(ctx context.Context, in *corev1.Container, out *translated) (sandbox.Container, error) {
	c := sandbox.Container{Name: in.Name}
	root, err := t.rootFS(ctx, in)
	if err != nil {
		return c, err
	}
	out.roots = append(out.roots, root)
	c.Lowers = slices.Clone(root.Lower)
	slices.Reverse(c.Lowers)

	image := root.Image.Config.Config
	env := &environment{sources: t.sources, meta: &t.meta, pod: &t.pod, ip: t.ip}
	if err := env.resolve(in, slices.Concat(image.Env, t.access.environment())); err != nil {
		return c, err
	}
	c.Env = env.list()
	c.Args = commandLine(in, image.Entrypoint, image.Cmd, env.values)
	if len(c.Args) == 0 {
		return c, fmt.Errorf("image %s names no program to run, and neither does the container's command", in.Image)
	}
	c.Dir = in.WorkingDir
	if c.Dir == "" {
		c.Dir = image.WorkingDir
	}
	c.User = image.User
	t.secure(&c, in)
	c.Resources = limits(in.Resources)
	for _, m := range in.VolumeMounts {
		c.Mounts = append(c.Mounts, sandbox.Mount{
			Volume: m.Name, Path: m.MountPath, SubPath: subPath(m, env.values), ReadOnly: m.ReadOnly,
		})
	}
	t.mountAPI(&c, in, out.spec.Volumes)
	return c, t.probes(&c, in)
}

func (t *translator) rootFS(ctx context.Context, in *corev1.Container) (*oci.RootFS, error) {
	ref := t.digests[in.Name]
	if ref == "" {
		return nil, fmt.Errorf("image %s was not resolved to a digest", in.Image)
	}
	_, text, _ := cutDigest(ref)
	d, err := digest.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	root, err := t.images.RootFS(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return root, nil
}

// cutDigest splits an image by digest.
func cutDigest(ref string) (repository, digest string, ok bool) { return strings.Cut(ref, "@") }

// commandLine joins what image and manifest say: a command replaces the image's entry point and its arguments.
func commandLine(in *corev1.Container, entrypoint, cmd []string, env map[string]string) []string {
	var args []string
	for _, a := range in.Command {
		args = append(args, expand(a, env))
	}
	if len(in.Command) == 0 {
		args = append(args, entrypoint...)
	}
	for _, a := range in.Args {
		args = append(args, expand(a, env))
	}
	if len(in.Command) == 0 && len(in.Args) == 0 {
		args = append(args, cmd...)
	}
	return args
}

func subPath(m corev1.VolumeMount, env map[string]string) string {
	if m.SubPathExpr != "" {
		return expand(m.SubPathExpr, env)
	}
	return m.SubPath
}

// secure takes over the security contexts, the container's before the pod's.
func (t *translator) secure(c *sandbox.Container, in *corev1.Container) {
	if pod := t.pod.SecurityContext; pod != nil {
		c.RunAsUser, c.RunAsGroup = pod.RunAsUser, pod.RunAsGroup
		c.RunAsNonRoot = pod.RunAsNonRoot != nil && *pod.RunAsNonRoot
		c.SeccompUnconfined = unconfined(pod.SeccompProfile)
	}
	own := in.SecurityContext
	if own == nil {
		return
	}
	if own.RunAsUser != nil {
		c.RunAsUser = own.RunAsUser
	}
	if own.RunAsGroup != nil {
		c.RunAsGroup = own.RunAsGroup
	}
	if own.RunAsNonRoot != nil {
		c.RunAsNonRoot = *own.RunAsNonRoot
	}
	if own.SeccompProfile != nil {
		c.SeccompUnconfined = unconfined(own.SeccompProfile)
	}
	c.ReadOnlyRoot = own.ReadOnlyRootFilesystem != nil && *own.ReadOnlyRootFilesystem
	c.AllowPrivilegeEscalation = own.AllowPrivilegeEscalation != nil && *own.AllowPrivilegeEscalation
	if own.Capabilities != nil {
		c.CapAdd, c.CapDrop = capabilities(own.Capabilities.Add), capabilities(own.Capabilities.Drop)
	}
}

func unconfined(p *corev1.SeccompProfile) bool {
	return p != nil && p.Type == corev1.SeccompProfileTypeUnconfined
}

func capabilities(list []corev1.Capability) []string {
	var names []string
	for _, c := range list {
		names = append(names, string(c))
	}
	return names
}

func limits(r corev1.ResourceRequirements) sandbox.Resources {
	request := r.Requests.Cpu().MilliValue()
	if request == 0 {
		request = r.Limits.Cpu().MilliValue()
	}
	return sandbox.Resources{
		MemoryBytes:      r.Limits.Memory().Value(),
		CPUMillis:        r.Limits.Cpu().MilliValue(),
		CPURequestMillis: request,
	}
}

func (t *translator) probes(c *sandbox.Container, in *corev1.Container) (err error) {
	target := probeTarget{container: in, port: t.serving, h2c: t.h2c}
	if c.Readiness, err = makeProbe(in.ReadinessProbe, target); err != nil {
		return err
	}
	if c.Liveness, err = makeProbe(in.LivenessProbe, target); err != nil {
		return err
	}
	c.Startup, err = makeProbe(in.StartupProbe, target)
	return err
}

func restartPolicy(p corev1.RestartPolicy) sandbox.RestartPolicy {
	switch p {
	case corev1.RestartPolicyNever:
		return sandbox.RestartNever
	case corev1.RestartPolicyOnFailure:
		return sandbox.RestartOnFailure
	}
	return sandbox.RestartAlways
}

// runtimeName maps a runtime class to a driver. An unknown class is handed on: the sandbox refuses it by name.
func runtimeName(class *string) string {
	if class == nil {
		return ""
	}
	if *class == "gvisor" {
		return "runsc"
	}
	return *class
}

// hostname is the pod's name, cut to what a host may be called.
func hostname(pod *corev1.PodSpec, name string) string {
	if pod.Hostname != "" {
		return pod.Hostname
	}
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-.")
	}
	return name
}
