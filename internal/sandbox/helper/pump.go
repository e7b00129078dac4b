package helper

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/sandbox/logs"
)

// buffers are shared by all pumps: a silent container holds none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// pump reads one stream of a container until it ends and appends its lines to the log. Log errors are reported once and
// the stream is read on, so that the container is never held up.
func pump(r *os.File, to *logs.Writer, name string, stream logs.Stream, log *slog.Logger) {
	defer r.Close()
	split := &logs.Splitter{Container: name, Stream: stream}
	reported := false
	write := func(records []logs.Record) {
		if len(records) == 0 {
			return
		}
		if err := to.Append(records...); err != nil && !reported {
			reported = true
			log.Error("writing a container's output", "container", name, "err", err)
		}
	}
	raw, err := r.SyscallConn()
	if err != nil {
		return
	}
	for open := true; open; {
		err := raw.Read(func(fd uintptr) bool {
			b := buffers.Get().(*[]byte)
			defer buffers.Put(b)
			n, err := unix.Read(int(fd), *b)
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
				return true
			case err != nil || n == 0:
				open = false
			default:
				write(split.Split((*b)[:n], time.Now()))
			}
			return true
		})
		if err != nil {
			break
		}
	}
	write(split.End(time.Now()))
}
