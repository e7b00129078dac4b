package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// logFlags are the flags of `fairlead logs`.
type logFlags struct {
	target     clientFlags
	follow     bool
	previous   bool
	timestamps bool
	prefix     bool
	since      time.Duration
	tail       int64
	revision   string
	container  string
}

func newLogsCommand(term *terminal) *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "logs SERVICE|INSTANCE",
		Short: "Print what the instances of a service wrote",
		Long: "Logs prints what the instances of a service wrote, in the order in which the lines were written. The daemon keeps\n" +
			"the logs of the last 256 instances that have ended: after a scale to zero, after a crash and after the service was\n" +
			"deleted. With -f it goes on with what is written and with instances that come later, over scales to zero and a\n" +
			"daemon that takes over from another, until Ctrl-C.",
		Example: "  fairlead logs hello -f --prefix\n  fairlead logs hello --since 10m --tail 100\n  fairlead logs hello --revision hello-00002 --previous",
		Args:    exactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, term, args[0]) },
	}
	f.target.addTo(cmd.Flags())
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what is written from now on")
	flags.BoolVarP(&f.previous, "previous", "p", false, "of each instance that was restarted, the run before the last")
	flags.BoolVar(&f.timestamps, "timestamps", false, "begin each line with the time at which it was written")
	flags.BoolVar(&f.prefix, "prefix", false, "begin each line with the name of the instance")
	flags.DurationVar(&f.since, "since", 0, "only lines younger than this, as in 10m")
	flags.Int64Var(&f.tail, "tail", -1, "only the last lines, counted over all instances")
	flags.StringVar(&f.revision, "revision", "", "only instances of this revision")
	flags.StringVarP(&f.container, "container", "c", "", "only this container (default: every one of yours)")
	cmd.ValidArgsFunction = serviceNames(&f.target)
	return cmd
}

func (f *logFlags) run(cmd *cobra.Command, term *terminal, name string) error {
	ctx := cmd.Context()
	query, err := f.query(term)
	if err != nil {
		return err
	}
	c, err := f.target.dial(cmd)
	if err != nil {
		return err
	}
	if err := c.aim(ctx, &query, name, f.revision); err != nil {
		return err
	}
	if err := c.known(ctx, query, name, f.revision); err != nil {
		return err
	}
	if f.follow {
		return c.followLogs(ctx, query, term.out)
	}
	return c.printLogs(ctx, term, query, name)
}

// query is what the flags say, before it is known what the argument names.
func (f *logFlags) query(term *terminal) (logQuery, error) {
	q := logQuery{
		namespace: f.target.namespace, container: f.container, prefix: f.prefix, colour: term.human, history: true,
		options:  corev1.PodLogOptions{Previous: f.previous, Timestamps: f.timestamps},
		complain: func(err error) { term.note("fairlead: %v", err) },
	}
	if f.follow && f.previous {
		return q, withTry(usagef("--previous is over: there is nothing to follow"), "leave out -f")
	}
	if f.since < 0 {
		return q, usagef("--since %v is negative", f.since)
	}
	if f.tail < -1 {
		return q, withTry(usagef("--tail %d is negative", f.tail), "--tail 100, or leave it out for all lines")
	}
	if f.since > 0 {
		q.options.SinceTime = &metav1.Time{Time: time.Now().Add(-f.since)}
	}
	if f.tail >= 0 {
		q.options.TailLines = &f.tail
	}
	return q, nil
}

// aim points a query at a service, or at an instance by its name. Either may be gone, as long as a log is kept.
func (c *client) aim(ctx context.Context, query *logQuery, name, revision string) error {
	query.past = []string{name}
	_, err := c.getService(ctx, query.namespace, name)
	if err == nil {
		query.selector = serviceLabel + "=" + name
		if revision != "" {
			query.selector += "," + revisionLabel + "=" + revision
		}
		return nil
	}
	if !errors.Is(err, errNoService) {
		return err
	}
	_, podErr := c.kube.CoreV1().Pods(query.namespace).Get(ctx, name, metav1.GetOptions{})
	if podErr == nil {
		query.field = "metadata.name=" + name
		return noRevision(name, revision)
	}
	if !apierrors.IsNotFound(podErr) {
		return fmt.Errorf("look for instance %s: %w", name, podErr)
	}
	gone, goneErr := c.endedPods(ctx, *query)
	switch {
	case goneErr != nil:
		return goneErr
	case len(gone) == 0:
		return err
	case gone[0].Name == name:
		query.field = "metadata.name=" + name
		return noRevision(name, revision)
	}
	query.selector = serviceLabel + "=" + name
	if revision != "" {
		query.selector += "," + revisionLabel + "=" + revision
	}
	return nil
}

// noRevision refuses to choose among the instances of a service where a single instance is named.
func noRevision(instance, revision string) error {
	if revision == "" {
		return nil
	}
	return withTry(usagef("%s is an instance: --revision chooses among those of a service", instance), "leave out --revision")
}

// known refuses what there is nothing of to show now or later: a revision or a container that does not exist.
func (c *client) known(ctx context.Context, query logQuery, name, revision string) error {
	if revision == "" && query.container == "" {
		return nil
	}
	pods, _, err := c.loggedPods(ctx, query)
	if err != nil {
		return fmt.Errorf("logs of %s: %w", name, err)
	}
	names := containerNames(pods)
	switch {
	case len(pods) > 0 && query.container != "" && !slices.Contains(names, query.container):
		return withTry(fmt.Errorf("%s has no container %s", name, query.container), "-c %s", strings.Join(names, " or -c "))
	case len(pods) > 0 || revision == "":
		return nil
	}
	_, err = c.serving.ServingV1().Revisions(query.namespace).Get(ctx, revision, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return withTry(fmt.Errorf("service %s has no revision %s", name, revision), "fairlead revisions %s", name)
	}
	return err
}

// printLogs prints the logs that are there, merged by time.
func (c *client) printLogs(ctx context.Context, term *terminal, query logQuery, name string) error {
	// Asking for what is gone makes the daemon show what is there, also what has just given its first answer.
	if _, err := c.endedPods(ctx, query); err != nil {
		return fmt.Errorf("logs of %s: %w", name, err)
	}
	pods, _, err := c.loggedPods(ctx, query)
	if err != nil {
		return fmt.Errorf("logs of %s: %w", name, err)
	}
	logs, failures := c.openLogs(ctx, query, pods, query.options)
	defer closeLogs(logs)
	switch {
	case len(logs) > 0:
	case failures > 0:
		return withTry(fmt.Errorf("no log of %s can be read", name), "fairlead get pods")
	case query.options.Previous:
		term.note("No instance of %s has been restarted.", name)
		return nil
	default:
		term.note("%s has no instance that a log is kept of.", name)
		return nil
	}
	w := lineWriter{query: query, timestamps: query.options.Timestamps, last: query.options.TailLines, out: term.out}
	if err := mergeLogs(logs, w.add); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	for _, l := range logs {
		if l.err != nil {
			return fmt.Errorf("log of instance %s, container %s: %w", l.source.pod, l.source.container, l.err)
		}
	}
	return nil
}

// containerNames are the containers of some instances, each once, without some.
func containerNames(pods []corev1.Pod, without ...string) []string {
	var names []string
	for i := range pods {
		for _, c := range pods[i].Spec.Containers {
			if !slices.Contains(names, c.Name) && !slices.Contains(without, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// openLogs opens the log of every container that a query wants. Those that cannot be read are told, unless it is because there
// is no previous run, and counted.
func (c *client) openLogs(ctx context.Context, query logQuery, pods []corev1.Pod, options corev1.PodLogOptions) (logs []*stampedLog, failures int) {
	options.Timestamps = true
	for i := range pods {
		for _, source := range query.sources(&pods[i]) {
			lines, err := c.openLog(ctx, source, options)
			if options.Previous && apierrors.IsBadRequest(err) || apierrors.IsNotFound(err) {
				continue // it was never restarted, or its log has just been removed
			}
			if err != nil {
				query.problem(err)
				failures++
				continue
			}
			logs = append(logs, &stampedLog{logLines: lines, source: source})
		}
	}
	return logs, failures
}

func closeLogs(logs []*stampedLog) {
	for _, l := range logs {
		l.close()
	}
}
