package main

import (
	"context"
	"errors"
	"fmt"
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
		Long: "Logs prints what the instances of a service wrote, in the order in which the lines were written, also those\n" +
			"that have ended as long as the daemon keeps their logs. With -f it goes on with what they write and with\n" +
			"instances that come later, until Ctrl-C.",
		Example: "  fairlead logs hello -f --prefix\n  fairlead logs hello --since 10m --tail 100\n  fairlead logs hello --revision hello-00002 --previous",
		Args:    exactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd, term, args[0]) },
	}
	f.target.addTo(cmd.Flags())
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what is written from now on")
	flags.BoolVarP(&f.previous, "previous", "p", false, "the log of the run before the last restart of each instance")
	flags.BoolVar(&f.timestamps, "timestamps", false, "begin each line with the time at which it was written")
	flags.BoolVar(&f.prefix, "prefix", false, "begin each line with the name of the instance")
	flags.DurationVar(&f.since, "since", 0, "only lines younger than this, as in 10m")
	flags.Int64Var(&f.tail, "tail", -1, "only the last lines, counted over all instances (-f: for each instance)")
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
	if f.follow {
		return c.followLogs(ctx, query, term.out)
	}
	return c.printLogs(ctx, term, query, name, f.timestamps)
}

// query is what the flags say, before it is known what the argument names.
func (f *logFlags) query(term *terminal) (logQuery, error) {
	q := logQuery{
		namespace: f.target.namespace, container: f.container, prefix: f.prefix, colour: term.human,
		options:  corev1.PodLogOptions{Previous: f.previous, Timestamps: f.timestamps},
		complain: func(err error) { term.note("fairlead: %v", err) },
	}
	if f.follow && f.previous {
		return q, withTry(usagef("--previous is over: there is nothing to follow"), "leave out -f")
	}
	if f.since < 0 {
		return q, usagef("--since %v is negative", f.since)
	}
	if f.since > 0 {
		seconds := max(int64(f.since.Round(time.Second)/time.Second), 1)
		q.options.SinceSeconds = &seconds
	}
	if f.tail >= 0 {
		q.options.TailLines = &f.tail
	}
	return q, nil
}

// aim points a query at a service, or at an instance by its name.
func (c *client) aim(ctx context.Context, query *logQuery, name, revision string) error {
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
	if apierrors.IsNotFound(podErr) {
		return err
	}
	if podErr != nil {
		return fmt.Errorf("look for instance %s: %w", name, podErr)
	}
	query.field = "metadata.name=" + name
	return nil
}

// printLogs prints the logs that are there, merged by time.
func (c *client) printLogs(ctx context.Context, term *terminal, query logQuery, name string, timestamps bool) error {
	pods, err := c.kube.CoreV1().Pods(query.namespace).List(ctx, query.listOptions())
	if err != nil {
		return fmt.Errorf("logs of %s: %w", name, err)
	}
	options := query.options
	options.Timestamps = true
	var logs []*stampedLog
	failures := 0
	for i := range pods.Items {
		for _, source := range query.sources(&pods.Items[i]) {
			lines, err := c.openLog(ctx, source, options)
			if err != nil {
				query.problem(err)
				failures++
				continue
			}
			defer lines.close()
			logs = append(logs, &stampedLog{logLines: lines, source: source})
		}
	}
	if len(logs) == 0 {
		if failures > 0 {
			return withTry(fmt.Errorf("no log of %s can be read", name), "fairlead get pods")
		}
		term.note("%s has no instance that a log is kept of.", name)
		return nil
	}
	w := lineWriter{query: query, timestamps: timestamps, last: query.options.TailLines, out: term.out}
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
