package oci

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"syscall"
)

// Error codes of the distribution specification.
const (
	codeBlobUnknown         = "BLOB_UNKNOWN"
	codeBlobUploadInvalid   = "BLOB_UPLOAD_INVALID"
	codeBlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"
	codeDenied              = "DENIED"
	codeDigestInvalid       = "DIGEST_INVALID"
	codeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	codeManifestInvalid     = "MANIFEST_INVALID"
	codeManifestUnknown     = "MANIFEST_UNKNOWN"
	codeNameInvalid         = "NAME_INVALID"
	codeNameUnknown         = "NAME_UNKNOWN"
	codeSizeInvalid         = "SIZE_INVALID"
	codeTooManyRequests     = "TOOMANYREQUESTS"
	codeUnauthorized        = "UNAUTHORIZED"
	codeUnsupported         = "UNSUPPORTED"
)

// invalidError is a refusal of what a client sent, with its code.
type invalidError struct {
	code string
	err  error
}

func (e *invalidError) Error() string { return e.err.Error() }
func (e *invalidError) Unwrap() error { return e.err }

var (
	repositoryForm = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

const repositoryLimit = 255

func validRepository(name string) bool {
	return len(name) <= repositoryLimit && repositoryForm.MatchString(name)
}

func validTag(tag string) bool { return tagForm.MatchString(tag) }

// endpoint is one route of the registry, with what the path named.
type endpoint struct {
	kind string // "manifests", "blobs", "uploads", "tags", "referrers"
	repo string
	arg  string // reference, digest or upload; empty for tags and for the start of an upload
}

// parseEndpoint takes the path after /v2/ apart. Repository names have slashes, so it reads from the end.
func parseEndpoint(path string) (endpoint, bool) {
	parts := strings.Split(path, "/")
	n := len(parts)
	at := func(i int) string { // counts from the end, 1 is the last
		if i > n {
			return ""
		}
		return parts[n-i]
	}
	name := func(drop int) string { return strings.Join(parts[:n-drop], "/") }
	switch {
	case n > 3 && at(3) == "blobs" && at(2) == "uploads":
		return endpoint{"uploads", name(3), at(1)}, true
	case n > 2 && at(2) == "blobs" && at(1) == "uploads":
		return endpoint{"uploads", name(2), ""}, true
	case n > 2 && at(2) == "tags" && at(1) == "list":
		return endpoint{"tags", name(2), ""}, true
	case n > 2 && (at(2) == "manifests" || at(2) == "blobs" || at(2) == "referrers"):
		return endpoint{at(2), name(2), at(1)}, true
	}
	return endpoint{}, false
}

func (s *Store) newHandler() http.Handler {
	var token [sha256.Size]byte
	if s.conf.Token != "" {
		token = sha256.Sum256([]byte(s.conf.Token))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusRecorder{ResponseWriter: w}
		defer func() { s.met.requests.WithLabelValues(rec.class()).Inc() }()
		if s.conf.Token != "" {
			_, password, _ := r.BasicAuth()
			given := sha256.Sum256([]byte(password))
			if subtle.ConstantTimeCompare(given[:], token[:]) != 1 {
				rec.Header().Set("WWW-Authenticate", `Basic realm="fairlead images"`)
				s.refuse(rec, http.StatusUnauthorized, codeUnauthorized, errors.New("log in with any user name and the registry token as the password"))
				return
			}
		}
		if fromWebPage(r) {
			s.refuse(rec, http.StatusForbidden, codeDenied, errors.New("web pages may not change images"))
			return
		}
		s.route(rec, r)
	})
}

// fromWebPage says whether a browser sends a change on behalf of a page. No tool that pushes or pulls says an origin,
// and any page can make a browser talk to the loopback interface.
func fromWebPage(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && (r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "")
}

func (s *Store) route(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	switch {
	case r.URL.Path == "/v2" || ok && path == "":
		s.servePing(w, r)
		return
	case strings.HasPrefix(r.URL.Path, adminPrefix):
		s.serveAdmin(w, r)
		return
	case ok && path == "_catalog":
		s.serveCatalog(w, r)
		return
	}
	e, known := parseEndpoint(path)
	if !ok || !known {
		http.NotFound(w, r)
		return
	}
	if !validRepository(e.repo) {
		s.refuse(w, http.StatusNotFound, codeNameInvalid, fmt.Errorf("repository name %q is not valid", e.repo))
		return
	}
	switch e.kind {
	case "manifests":
		s.serveManifest(w, r, e)
	case "blobs":
		s.serveBlob(w, r, e)
	case "uploads":
		s.serveUpload(w, r, e)
	case "tags":
		s.serveTags(w, r, e)
	case "referrers":
		s.serveReferrers(w, r, e)
	}
}

func (s *Store) servePing(w http.ResponseWriter, r *http.Request) {
	if !s.allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	writeJSON(w, "application/json", struct{}{})
}

// allow answers 405 to methods an endpoint does not have.
func (s *Store) allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	s.refuse(w, http.StatusMethodNotAllowed, codeUnsupported, fmt.Errorf("method %s is not supported here", r.Method))
	return false
}

// refuse writes an error in the form of the distribution specification.
func (s *Store) refuse(w http.ResponseWriter, status int, code string, err error) {
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct { // the client is gone if this does not work
		Errors []item `json:"errors"`
	}{[]item{{code, err.Error()}}})
}

// answer turns an error of the store into a response. unknown is the code for what was not found.
func (s *Store) answer(w http.ResponseWriter, err error, unknown string) {
	var invalid *invalidError
	switch {
	case errors.As(err, &invalid):
		s.refuse(w, http.StatusBadRequest, invalid.code, err)
	case errors.Is(err, ErrNotFound):
		s.refuse(w, http.StatusNotFound, unknown, err)
	case errors.Is(err, ErrInUse):
		s.refuse(w, http.StatusMethodNotAllowed, codeDenied, err)
	case errors.Is(err, ErrFull):
		s.refuse(w, http.StatusInsufficientStorage, codeDenied, err)
	case errors.Is(err, syscall.ENOSPC):
		s.refuse(w, http.StatusInsufficientStorage, codeDenied, err)
	case errors.Is(err, errUploadBusy):
		s.refuse(w, http.StatusConflict, codeBlobUploadInvalid, err)
	case errors.Is(err, ErrDamaged):
		s.log.Error("damaged blob set aside", "err", err)
		s.refuse(w, http.StatusNotFound, unknown, err)
	default:
		s.log.Error("registry request", "err", err)
		s.refuse(w, http.StatusInternalServerError, codeUnsupported, errors.New("internal error: see the log of fairlead"))
	}
}

func writeJSON(w http.ResponseWriter, contentType string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types always marshal
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = w.Write(data) // the client is gone if this does not work
}

// statusRecorder remembers the status for the metrics, and passes ReadFrom through so that files are sent by the kernel.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *statusRecorder) class() string {
	if r.status == 0 {
		return "2xx"
	}
	return fmt.Sprintf("%dxx", r.status/100)
}
