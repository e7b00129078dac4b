package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

func newDevCommand(term *terminal) *cobra.Command {
	r := &runner{term: term}
	cmd := r.command("dev [PATH]", "Run a folder of source, and again whenever it changes",
		"Dev does what run does and watches the folder: a change is built and takes over when it is ready, without a\n"+
			"request being dropped. While a build fails, or what it made does not start, the version before goes on, and\n"+
			"browsers get a page that says why. Hidden folders and those that tools\n"+
			"fill (node_modules, vendor, dist, bin, __pycache__) are not watched, nor is the daemon's home folder.")
	if err := cmd.Flags().MarkHidden("print"); err != nil {
		panic(err) // The flag was defined by command.
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		argument := "."
		if len(args) == 1 {
			argument = args[0]
		}
		return r.dev(cmd, argument)
	}
	return cmd
}

// developing is one run of `fairlead dev`.
type developing struct {
	*runner
	session *session
	path    string
	service *servingv1.Service
	// image is what was applied last; empty before the first build that worked.
	image string
	// running says that some version answers.
	running bool
	// noticed says that browsers are shown why the last change did not work.
	noticed bool
	follow  func()
}

func (r *runner) dev(cmd *cobra.Command, argument string) (err error) {
	path, isPath, err := sourceFolder(argument)
	if err != nil {
		return err
	}
	if !isPath {
		return withTry(usagef("%s is no folder on this machine, and only a folder can be watched", argument), "fairlead run %s", argument)
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
	watch, err := watchFolder(path, r.options.exclude)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watch.close()) }()
	s, err := r.open(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := r.possible(cmd.Context(), s, service); err != nil {
		return err
	}
	existed, err := s.exists(cmd.Context(), service.Namespace, name)
	if err != nil {
		return err
	}
	d := &developing{runner: r, session: s, path: path, service: service}
	r.options.quick = true
	if !existed {
		defer func() {
			if d.image != "" {
				r.remove(cmd.Context(), s, d.service)
			}
		}()
	}
	if existed { // one that goes with this process needs no cleaning
		defer func() { d.notice(context.WithoutCancel(cmd.Context()), "") }()
	}
	return d.loop(cmd.Context(), watch)
}

// loop builds and swaps after each change, until ctx ends.
func (d *developing) loop(ctx context.Context, watch *folderWatch) error {
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	d.follow = sync.OnceFunc(func() {
		following.Go(func() {
			if err := d.session.follow(ctx, d.service.Namespace, d.service.Name, d.term.out); err != nil {
				d.term.note("fairlead: %v", err)
			}
		})
	})
	d.swap(ctx, time.Now())
	for {
		changed, err := watch.next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		d.term.note("changed  %s", changed)
		d.swap(ctx, time.Now())
	}
}

// swap brings the folder as it is now into service, and tells when it cannot; what runs goes on then.
func (d *developing) swap(ctx context.Context, begin time.Time) {
	err := d.trySwap(ctx, begin)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		d.notice(ctx, "")
		return
	}
	d.notice(ctx, err.Error())
	d.term.note("fairlead: %v", err)
	if own := (interface{ Try() string })(nil); errors.As(err, &own) && own.Try() != "" {
		d.term.note("try: %s", own.Try())
	}
	if !d.running {
		d.term.note("Nothing runs yet; waiting for a change of %s", d.path)
	} else {
		d.term.note("The version before goes on; waiting for a change of %s", d.path)
	}
}

// noticeAnnotation is what the gateway shows to browsers in the place of the answer; longestNotice bounds it, in bytes.
const (
	noticeAnnotation = "fairlead.dev/notice"
	longestNotice    = 16 << 10
)

// notice lets browsers see why the last change did not work; an empty text takes that back.
func (d *developing) notice(ctx context.Context, text string) {
	if !d.running || text == "" && !d.noticed {
		return
	}
	var value any
	if text != "" {
		value = strings.ToValidUTF8(text[:min(len(text), longestNotice)], "")
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{noticeAnnotation: value}}})
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, applyPatience)
		defer cancel()
		_, err = d.session.serving.ServingV1().Services(d.service.Namespace).Patch(ctx, d.service.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	}
	if err != nil {
		d.term.note("fairlead: tell browsers: %v", err)
		return
	}
	d.noticed = text != ""
}

func (d *developing) trySwap(ctx context.Context, begin time.Time) error {
	image, err := d.build(ctx, d.session, d.path, d.service.Name)
	if err != nil {
		return err
	}
	if image == d.image {
		d.term.note("The same program as before: nothing to swap")
		return nil
	}
	wanted := d.service.DeepCopy()
	wanted.Spec.Template.Spec.Containers[0].Image = image
	applied, err := d.session.apply(ctx, wanted)
	if err != nil {
		return err
	}
	// From here on the service is there, and has to go with this process.
	d.image, d.service.UID = image, applied.UID
	ready, err := d.await(ctx, d.session, applied)
	if err != nil {
		return err
	}
	if d.running {
		d.term.note("Ready in %s: revision %s", took(time.Since(begin)), ready.Status.LatestReadyRevisionName)
	} else {
		d.running = true
		if err := d.show(ctx, d.session, ready, begin); err != nil {
			return err
		}
		d.term.note("Watching %s; Ctrl-C ends it", d.path)
	}
	d.follow()
	return nil
}
