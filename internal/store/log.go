package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"

	"go.uber.org/zap/zapcore"
)

// logCore hands etcd's lines to slog: its chatter at debug, warnings and errors as they are.
type logCore struct {
	log   *slog.Logger
	extra []zapcore.Field
}

func (c *logCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.DPanicLevel || c.log.Enabled(context.Background(), levelOf(l))
}

func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{log: c.log, extra: append(c.extra[:len(c.extra):len(c.extra)], fields...)}
}

func (c *logCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *logCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.extra {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields)+1)
	attrs = append(attrs, slog.String("etcd", e.Message))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	level := levelOf(e.Level)
	if ordinary(e.Message) {
		level = slog.LevelDebug
	}
	c.log.LogAttrs(context.Background(), level, "store engine", attrs...)
	return nil
}

func (c *logCore) Sync() error { return nil }

// ordinary tells whether etcd warns of something that is as it should be here: a cluster of one on a unix socket, a
// first start, a stop.
func ordinary(message string) bool {
	for _, m := range []string{
		"Running http and grpc server on single port.", "simple token is not cryptographically signed",
		"etcdserver: failed to register grpc metrics", "Failed to detect schema version", "failed to update storage version",
		"stopping insecure grpc server due to error", "stopped insecure grpc server due to error", "setting up serving from embedded etcd failed.",
	} {
		if strings.HasPrefix(message, m) {
			return true
		}
	}
	return false
}

func levelOf(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// fatalHook turns the places where etcd would end the process into a Fault: the goroutine ends, Run returns.
type fatalHook struct{ s *Store }

func (h fatalHook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	cause := errors.New(e.Message)
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			cause = fmt.Errorf("%s: %w", e.Message, err)
		}
	}
	select {
	case h.s.faults <- h.s.fault(cause):
	default: // the first fault is the one that counts
	}
	runtime.Goexit()
}
