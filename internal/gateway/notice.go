package gateway

import (
	"html"
	"net/http"
	"strings"
)

// noticePage shows a text in the place of the answer and asks the browser to come again, so that the page gives way by itself when the
// notice is taken back.
const noticePage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="1">
<title>Does not work</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70em; margin: 3em auto; padding: 0 1em; color: #333; background: #fff }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: 1em; border-left: 4px solid #c33; background: #f6f6f6 }
p { color: #777 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616 } pre { background: #222 } }
</style>
<main><h1>Does not work</h1><pre>NOTICE</pre>
<p>The version before goes on for programs. This page reloads by itself.</p></main>
</html>
`

// noticed says whether a route has something to say to the person who sent the request.
func (x *exchange) noticed(route *route) bool {
	return route.Notice != "" && !x.caller.Internal && browses(x.in)
}

// showNotice answers with what the route has to say.
func showNotice(w http.ResponseWriter, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(strings.Replace(noticePage, "NOTICE", html.EscapeString(text), 1)))
}
