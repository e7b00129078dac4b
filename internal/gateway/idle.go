package gateway

import (
	"context"
	"io"
	"sync"
	"time"
)

// idleWatch cancels an exchange whose answer makes no progress.
type idleWatch struct {
	limit  time.Duration
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	last  time.Time
	done  bool
}

func watchIdle(limit time.Duration, cancel context.CancelCauseFunc) *idleWatch {
	w := &idleWatch{limit: limit, cancel: cancel, last: time.Now()}
	w.mu.Lock()
	w.timer = time.AfterFunc(limit, w.check)
	w.mu.Unlock()
	return w
}

func (w *idleWatch) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return
	}
	if left := w.limit - time.Since(w.last); left > 0 {
		w.timer.Reset(left)
		return
	}
	w.cancel(errIdleTimeout)
}

func (w *idleWatch) progress() {
	w.mu.Lock()
	w.last = time.Now()
	w.mu.Unlock()
}

func (w *idleWatch) stop() {
	w.mu.Lock()
	w.done = true
	w.timer.Stop()
	w.mu.Unlock()
}

// wrap makes what is read from the body, or written to it after an upgrade, count as progress.
func (w *idleWatch) wrap(body io.ReadCloser) io.ReadCloser {
	w.progress()
	if rw, ok := body.(io.ReadWriteCloser); ok {
		return &watchedPipe{watchedBody{rw, w}, rw}
	}
	return &watchedBody{body, w}
}

type watchedBody struct {
	io.ReadCloser
	watch *idleWatch
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.progress()
	}
	return n, err
}

type watchedPipe struct {
	watchedBody
	io.Writer
}

func (p *watchedPipe) Write(b []byte) (int, error) {
	p.watch.progress()
	return p.Writer.Write(b)
}
