package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// fieldManager owns the fields that run and deploy apply.
const fieldManager = "fairlead"

// runner carries out one run or deploy.
type runner struct {
	term    *terminal
	target  clientFlags
	service serviceFlags
	options buildFlags
	reach   reachFlags
	detach  bool
	print   bool
	timeout time.Duration
}

func newRunCommand(term *terminal) *cobra.Command {
	r := &runner{term: term}
	cmd := r.command("run [PATH|IMAGE|BINARY] [-- ARGUMENTS...]", "Build and run code, print its URL, follow its logs",
		"Run builds a folder of source (this one if none is named), or takes a binary or an image, runs it as a service,\n"+
			"waits until it is ready, prints its URL and follows its logs. It starts a daemon in this process if none is\n"+
			"running. Ctrl-C ends what it started; --detach keeps it. What follows -- are the program's own arguments.")
	cmd.Flags().BoolVarP(&r.detach, "detach", "d", false, "keep the service and return when it is ready")
	return cmd
}

func newDeployCommand(term *terminal) *cobra.Command {
	r := &runner{term: term, detach: true}
	return r.command("deploy [PATH|IMAGE|BINARY] [-- ARGUMENTS...]", "Like run, but return when the service is ready and keep it",
		"Deploy does what run does and returns when the service is ready; the service stays. It needs a running daemon.")
}

func (r *runner) command(use, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: func(cmd *cobra.Command, args []string) error {
			if before, _ := splitAtDash(cmd, args); len(before) > 1 {
				return withTry(usagef("%s takes one path or image, got %d", cmd.CommandPath(), len(before)),
					"%s %s -- ARGUMENTS... gives the program arguments", cmd.CommandPath(), before[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			argument := "."
			before, after := splitAtDash(cmd, args)
			if len(before) == 1 {
				argument = before[0]
			}
			r.service.args = after
			return r.run(cmd, argument)
		},
	}
	r.target.addTo(cmd.Flags())
	r.service.addTo(cmd.Flags())
	r.options.addTo(cmd.Flags())
	r.reach.addTo(cmd.Flags())
	cmd.Flags().BoolVar(&r.print, "print", false, "print the manifest instead of applying it")
	cmd.Flags().DurationVar(&r.timeout, "wait", 5*time.Minute, "how long to wait until the service is ready; 0 does not wait")
	return cmd
}

// splitAtDash parts the arguments of a command from those after --, which are the program's.
func splitAtDash(cmd *cobra.Command, args []string) (before, after []string) {
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		return args[:at], args[at:]
	}
	return args, nil
}

func (r *runner) run(cmd *cobra.Command, argument string) (err error) {
	ctx := cmd.Context()
	path, isPath, err := sourceFolder(argument)
	if err != nil {
		return err
	}
	name, err := r.name(argument, path, isPath)
	if err != nil {
		return err
	}
	service, err := r.wanted(name, argument)
	if err != nil {
		return err
	}
	r.options.exclude = r.target.notSource(cmd.Flags())
	if err := r.options.check(argument, path, isPath); err != nil {
		return err
	}
	if r.print && !isPath {
		return r.printManifest(service)
	}
	s, err := r.open(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := r.possible(ctx, s, service); err != nil {
		return err
	}
	if isPath {
		if service.Spec.Template.Spec.Containers[0].Image, err = r.build(ctx, s, path, name); err != nil {
			return err
		}
	}
	if r.print {
		return r.printManifest(service)
	}
	return r.deploy(ctx, s, service)
}

// wanted is the service that the flags describe. They are checked before anything is started or built.
func (r *runner) wanted(name, image string) (*servingv1.Service, error) {
	if err := positive("wait", r.timeout); err != nil {
		return nil, err
	}
	if err := r.reach.check(); err != nil {
		return nil, err
	}
	return r.service.service(name, r.target.namespace, image)
}

// possible asks the daemon whether it can do what the flags want, before anything is built.
func (r *runner) possible(ctx context.Context, s *session, service *servingv1.Service) error {
	if err := r.reach.allowed(s.info); err != nil {
		return err
	}
	if err := isolationAvailable(r.term, r.service.isolation, s.info); err != nil {
		return err
	}
	return r.reach.free(ctx, s.client, service)
}

func (r *runner) name(argument, path string, isPath bool) (string, error) {
	switch {
	case r.service.name != "":
		return givenName(r.service.name)
	case isPath:
		base := filepath.Base(path)
		return serviceName(strings.TrimSuffix(base, filepath.Ext(base)))
	default:
		return serviceName(imageName(argument))
	}
}

func (r *runner) printManifest(service *servingv1.Service) error {
	manifests := []any{service}
	for _, mapping := range r.reach.mappings(service) {
		manifests = append(manifests, mapping)
	}
	for i, manifest := range manifests {
		text, err := manifestYAML(manifest)
		if err != nil {
			return err
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := r.term.out.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// open connects, or starts a daemon where the service may end with this process.
func (r *runner) open(cmd *cobra.Command) (*session, error) {
	kubeconfig := r.target.kubeconfig(cmd.Flags())
	if r.detach {
		c, err := connect(cmd.Context(), kubeconfig)
		if err != nil {
			return nil, err
		}
		return describeSession(cmd.Context(), &session{client: c})
	}
	if err := r.target.resolve(cmd.Flags()); err != nil {
		return nil, err
	}
	r.reach.openTo(r.target.settings)
	return openSession(cmd.Context(), r.term, kubeconfig, r.target.settings)
}

// deploy applies the service, waits for it, prints its URL and follows it where it is not to be kept.
func (r *runner) deploy(ctx context.Context, s *session, service *servingv1.Service) error {
	existed, err := s.exists(ctx, service.Namespace, service.Name)
	if err != nil {
		return err
	}
	begin := time.Now()
	applied, err := s.apply(ctx, service)
	if err != nil {
		return err
	}
	if !r.detach && !existed {
		defer r.remove(ctx, s, applied)
	}
	ready, err := r.await(ctx, s, applied)
	if err != nil {
		return err
	}
	if err := r.show(ctx, s, ready, begin); err != nil {
		return err
	}
	if r.detach {
		return nil
	}
	if existed {
		r.term.note("The service was there before: it stays when you press Ctrl-C")
	} else {
		r.term.note("Ctrl-C ends the service; --detach would keep it")
	}
	return s.follow(ctx, ready.Namespace, ready.Name, r.term.out)
}

// show prints where a service is, as far as is known where it was not waited for.
func (r *runner) show(ctx context.Context, s *session, service *servingv1.Service, begin time.Time) error {
	if r.timeout == 0 {
		r.term.note("Not waited for: fairlead wait ksvc %s --for=condition=Ready", service.Name)
	} else {
		r.term.note("Ready in %s: revision %s", took(time.Since(begin)), service.Status.LatestReadyRevisionName)
	}
	if where := publicURL(service.Status.URL, s.info.Gateway); where != "" {
		fmt.Fprintln(r.term.out, where)
	}
	return r.reach.publish(ctx, r.term, s, service, r.timeout == 0)
}

func (r *runner) await(ctx context.Context, s *session, service *servingv1.Service) (*servingv1.Service, error) {
	return s.await(ctx, service, patientWait{
		term: r.term, label: "Waiting", timeout: r.timeout, failed: "service " + service.Name + " is not ready", portFlag: true,
	})
}

// remove deletes what this run made, also after the context was cancelled by Ctrl-C.
func (r *runner) remove(ctx context.Context, s *session, service *servingv1.Service) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	foreground := metav1.DeletePropagationForeground
	gone := false
	err := whileDisconnected(ctx, func() error {
		err := s.serving.ServingV1().Services(service.Namespace).Delete(ctx, service.Name, metav1.DeleteOptions{
			PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &service.UID},
		})
		if gone = errors.Is(err, syscall.ECONNREFUSED); gone {
			return nil
		}
		return err
	})
	switch {
	case gone:
		r.term.note("fairlead: the daemon is gone: service %s comes back with it; then: fairlead delete %s", service.Name, service.Name)
		return
	case err != nil && !apierrors.IsNotFound(err):
		r.term.note("fairlead: service %s was not deleted: %v", service.Name, err)
		return
	}
	r.term.note("Deleted service %s", service.Name)
}

// exists tells whether there is a service. One that is being deleted, perhaps by the run before, is waited for until it is gone.
func (c *client) exists(ctx context.Context, namespace, name string) (bool, error) {
	waiting, cancel := context.WithTimeout(ctx, applyPatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		service, err := c.serving.ServingV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look for service %s: %w", name, err)
		}
		if service.DeletionTimestamp == nil {
			return true, nil
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			return false, withTry(fmt.Errorf("service %s is still being deleted after %v", name, applyPatience), "fairlead describe ksvc %s, or another --name", name)
		}
	}
}

// applyPatience is how long a write of one object may take; it is a matter of milliseconds.
const applyPatience = 30 * time.Second

// apply makes the service be as the manifest says, by server-side apply.
func (c *client) apply(ctx context.Context, service *servingv1.Service) (*servingv1.Service, error) {
	fields, err := manifestFields(service)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("apply service %s: %w", service.Name, err)
	}
	force := true
	// An interrupt must not leave it open whether the service was made: who calls looks at ctx afterwards.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyPatience)
	defer cancel()
	applied, err := c.serving.ServingV1().Services(service.Namespace).Patch(ctx, service.Name, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	if err != nil {
		err = fmt.Errorf("apply service %s: %w", service.Name, err)
		if strings.Contains(err.Error(), "spec.template.spec.runtimeClassName") {
			err = withTry(err, "kubernetes.podspec-runtimeclassname: enabled in the ConfigMap config-features of namespace knative-serving, or no --isolation")
		}
		return nil, err
	}
	return applied, nil
}

// publicURL is the URL of a service with the port on which the gateway really listens.
func publicURL(u *apis.URL, gateway string) string {
	if u == nil {
		return ""
	}
	shown := url.URL(*u)
	_, port, err := net.SplitHostPort(gateway)
	if err == nil && shown.Scheme == "http" && port != "80" && shown.Port() == "" {
		shown.Host = net.JoinHostPort(shown.Hostname(), port)
	}
	return shown.String()
}
