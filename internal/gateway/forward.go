package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
)

// callerHeader names the calling service, "<namespace>/<service>", to the called one. It is set only for calls that arrived on a
// socket inside an instance; what a client puts there is removed.
const callerHeader = "Fairlead-Caller"

// forwardHeaders completes the headers that tell an instance who called and how, from those of the request as it came.
func forwardHeaders(out, in http.Header, remote, host, proto string) {
	ip := remoteIP(remote)
	node := ip
	if strings.IndexByte(ip, ':') >= 0 {
		node = `"[` + ip + `]"`
	}
	if strings.ContainsAny(host, ":[]") {
		host = `"` + host + `"`
	}
	element := "for=" + node + ";host=" + host + ";proto=" + proto
	values := [...]string{appendList(in["Forwarded"], element), appendList(in["X-Forwarded-For"], ip), proto} // in one piece
	out["Forwarded"] = values[0:1:1]
	out["X-Forwarded-For"] = values[1:2:2]
	out["X-Forwarded-Proto"] = values[2:3:3]
	if v := in["X-Forwarded-Host"]; len(v) > 0 {
		out["X-Forwarded-Host"] = v
	}
}

// appendList adds an element to a header that is a list.
func appendList(prior []string, element string) string {
	switch len(prior) {
	case 0:
		return element
	case 1:
		return prior[0] + ", " + element
	}
	return strings.Join(prior, ", ") + ", " + element
}

// remoteIP cuts the port off a RemoteAddr. What is no address and port, as of a pipe, is unknown.
func remoteIP(remote string) string {
	colon := strings.LastIndexByte(remote, ':')
	if colon <= 0 {
		return "unknown"
	}
	ip := remote[:colon]
	if len(ip) > 2 && ip[0] == '[' {
		ip = ip[1 : len(ip)-1]
	}
	if zone := strings.IndexByte(ip, '%'); zone >= 0 {
		ip = ip[:zone]
	}
	return ip
}

// traceID gives the trace ID of a valid traceparent, "" of any other.
func traceID(parent string) string {
	// 00-<32 hex>-<16 hex>-<2 hex>; a later version may be longer.
	if len(parent) < 55 || parent[2] != '-' || parent[35] != '-' || parent[52] != '-' || parent[:2] == "ff" {
		return ""
	}
	if parent[:2] == "00" && len(parent) != 55 {
		return ""
	}
	if len(parent) > 55 && parent[55] != '-' {
		return ""
	}
	id, span := parent[3:35], parent[36:52]
	if !isHex(parent[:2]) || !isHex(id) || !isHex(span) || !isHex(parent[53:55]) {
		return ""
	}
	if strings.Trim(id, "0") == "" || strings.Trim(span, "0") == "" {
		return ""
	}
	return id
}

func isHex(s string) bool {
	for n := range len(s) {
		if c := s[n]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// newTraceparent begins a sampled trace. Its numbers have to be different, not secret.
func newTraceparent() string {
	var id [24]byte
	for n := 0; n < len(id); n += 8 {
		binary.BigEndian.PutUint64(id[n:], rand.Uint64())
	}
	buf := make([]byte, 0, 55)
	buf = append(buf, "00-"...)
	buf = hex.AppendEncode(buf, id[:16])
	buf = append(buf, '-')
	buf = hex.AppendEncode(buf, id[16:])
	buf = append(buf, "-01"...)
	return string(buf)
}

// traceHeaders continues the caller's trace or begins one, and gives the traceparent that is sent.
func traceHeaders(out http.Header) string {
	if v := out["Traceparent"]; len(v) == 1 && traceID(v[0]) != "" {
		return v[0]
	}
	parent := newTraceparent()
	out["Traceparent"] = []string{parent}
	delete(out, "Tracestate")
	return parent
}

// contentLength reads the length that an answer announces.
func contentLength(h http.Header) (int64, bool) {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	return n, err == nil && n >= 0
}
