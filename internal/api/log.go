package api

import (
	"context"
	"log/slog"

	"k8s.io/klog/v2"
)

// quietUpstream sends what the libraries log to our logger, their news at debug: klog has one logger per process.
func quietUpstream(l *slog.Logger) { klog.SetSlogLogger(slog.New(demoted{l.Handler()})) }

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
