package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// WakeTrace tells where the time of one wake went. Times that do not apply are zero.
type WakeTrace struct {
	// Backend and Instance that was woken. The gateway sets Backend.
	Backend, Instance string
	// Spare says that an instance was waiting to be started; otherwise it was created from nothing.
	Spare bool
	// Asked is when the first request joined the room (set by the gateway).
	Asked time.Time
	// Woken is when the scaler took the wake up.
	Woken time.Time
	// Created is when the instance existed; zero for a spare.
	Created time.Time
	// Started is when its program was started.
	Started time.Time
	// Ready is when its readiness probe passed.
	Ready time.Time
	// Released is when the room was let go (set by the gateway).
	Released time.Time
	// FirstByte is when the first answer began (set by the gateway).
	FirstByte time.Time
}

// serverTimingHeader asks for Server-Timing with a cold start.
const serverTimingHeader = "Fairlead-Server-Timing"

// serverTiming writes the phases of a wake as a Server-Timing header, in milliseconds: what this request waited (queue), until the
// scaler took over (wake), creating the instance where there was no spare (create), starting its program (start), its readiness
// (ready), and from the release of the room to the first byte of this answer (app).
func serverTiming(joined, granted, firstByte time.Time, t WakeTrace) string {
	var b strings.Builder
	phase := func(name string, from, to time.Time) {
		if from.IsZero() || to.IsZero() {
			return
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name)
		b.WriteString(";dur=")
		b.WriteString(strconv.FormatFloat(float64(to.Sub(from).Microseconds())/1000, 'f', -1, 64))
	}
	existed := t.Woken
	phase("queue", joined, granted)
	phase("wake", t.Asked, t.Woken)
	if !t.Created.IsZero() {
		phase("create", t.Woken, t.Created)
		existed = t.Created
	}
	phase("start", existed, t.Started)
	phase("ready", t.Started, t.Ready)
	phase("app", granted, firstByte)
	return b.String()
}

// noteFirstByte tells about the wake that the exchange waited for, if it did.
func (x *exchange) noteFirstByte(res *http.Response) {
	if x.joined.IsZero() {
		return
	}
	now := time.Now()
	t, whole := x.backend.firstByte(x.instance, now)
	if whole {
		x.g.metrics.woken(t)
		if x.g.cfg.OnWake != nil {
			x.g.cfg.OnWake(t)
		}
	}
	if x.spec.ServerTiming || x.timing {
		res.Header.Add("Server-Timing", serverTiming(x.joined, x.granted, now, t))
	}
}

// wakingAfter is how long a browser waits for an instance before it is shown a page.
const wakingAfter = time.Second

// wakingPage asks the browser to come again; the instance goes on waking.
const wakingPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="1">
<title>Waking up</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0; color: #333; background: #fff }
p { color: #777 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616 } }
</style>
<main><h1>Waking up</h1><p>The service was asleep and is starting. This page reloads by itself.</p></main>
</html>
`

// browses says whether the request is a person's, looking for a page.
func browses(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// showWaking answers with the waking page.
func showWaking(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(wakingPage))
}
