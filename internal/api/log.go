package api

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"k8s.io/klog/v2"
)

// quietUpstream sends what the libraries log to our logger, their news at debug. klog has one logger per process, and it may be
// set only while nothing logs: it is set once, before anything runs, to a handler whose target may change at any time. Of several
// servers in one process the newest gets the lines.
func quietUpstream(l *slog.Logger) {
	var target slog.Handler = demoted{l.Handler()}
	upstreamLog().Store(&target)
}

var upstreamLog = sync.OnceValue(func() *atomic.Pointer[slog.Handler] {
	target := new(atomic.Pointer[slog.Handler])
	discard := slog.DiscardHandler
	target.Store(&discard)
	klog.SetSlogLogger(slog.New(forward{target}))
	return target
})

// forward hands records to whatever handler is the target now.
type forward struct{ target *atomic.Pointer[slog.Handler] }

func (f forward) Enabled(ctx context.Context, level slog.Level) bool {
	return (*f.target.Load()).Enabled(ctx, level)
}

func (f forward) Handle(ctx context.Context, r slog.Record) error {
	return (*f.target.Load()).Handle(ctx, r)
}

func (f forward) WithAttrs(a []slog.Attr) slog.Handler { return (*f.target.Load()).WithAttrs(a) }
func (f forward) WithGroup(name string) slog.Handler   { return (*f.target.Load()).WithGroup(name) }

// demoted passes warnings and errors on as they are and everything else at debug.
type demoted struct{ slog.Handler }

// Enabled leaves out klog's verbosities above 4: from 8 on clients log whole requests, Secrets among them.
func (d demoted) Enabled(ctx context.Context, level slog.Level) bool {
	if level < slog.LevelDebug {
		return false
	}
	return d.Handler.Enabled(ctx, lower(level))
}

func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lower(r.Level)
	return d.Handler.Handle(ctx, r)
}

func (d demoted) WithAttrs(a []slog.Attr) slog.Handler { return demoted{d.Handler.WithAttrs(a)} }
func (d demoted) WithGroup(name string) slog.Handler   { return demoted{d.Handler.WithGroup(name)} }

func lower(level slog.Level) slog.Level {
	if level < slog.LevelWarn {
		return slog.LevelDebug
	}
	return level
}
