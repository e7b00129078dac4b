// Package webserver serves a folder of static files, as the program inside an image that the static builder makes.
//
// It uses the standard library only, because its source is compiled by itself into such images. It answers conditional
// and range requests, sends text packed by gzip, gives "/about" the page about.html, and unknown pages to 404.html or,
// for a single-page application, to index.html. Hidden files are not served.
package webserver

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Main serves the folder named by the last argument on $PORT (8080) until it is told to stop, and gives the exit code.
func Main(args []string) int {
	dir := "/srv"
	if len(args) > 0 {
		dir = args[len(args)-1]
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := serve(ctx, dir, net.JoinHostPort("", port)); err != nil {
		fmt.Fprintln(os.Stderr, "web-server:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, dir, address string) error {
	site, err := New(os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("serve %s: %w", dir, err)
	}
	server := &http.Server{Addr: address, Handler: site, ReadHeaderTimeout: 10 * time.Second}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}

// Site is the handler of one folder. What it has read stays in memory, up to a limit, because an image does not change.
type Site struct {
	files fs.FS

	mu     sync.Mutex // guards pages and held
	pages  map[string]*page
	held   int64
	missed string // what unknown pages get: "404.html", "index.html" or nothing
}

// page is a file as it is sent.
type page struct {
	name     string
	etag     string
	plain    []byte
	packed   []byte // nil when packing is not worth it
	modified time.Time
}

const (
	holdLimitBytes = 64 << 20
	pageLimitBytes = 8 << 20 // larger files are streamed
	packFromBytes  = 512
)

// New makes a site of a folder, which must have an index.html or any other file.
func New(files fs.FS) (*Site, error) {
	if _, err := fs.Stat(files, "."); err != nil {
		return nil, err
	}
	s := &Site{files: files, pages: map[string]*page{}}
	for _, name := range []string{"404.html", "index.html"} {
		if _, err := fs.Stat(files, name); err == nil {
			s.missed = name
			break
		}
	}
	return s, nil
}

func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this is a folder of files: only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	name, redirect := s.find(r.URL.Path)
	switch {
	case redirect != "":
		if r.URL.RawQuery != "" {
			redirect += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", redirect)
		w.WriteHeader(http.StatusMovedPermanently)
	case name != "":
		s.send(w, r, name, http.StatusOK)
	case s.missed == "404.html":
		s.send(w, r, s.missed, http.StatusNotFound)
	case s.missed == "index.html" && path.Ext(r.URL.Path) == "":
		s.send(w, r, s.missed, http.StatusOK) // a page of the application, not a missing file
	default:
		http.NotFound(w, r)
	}
}

// find gives the file for a path, or where the path should have pointed.
func (s *Site) find(urlPath string) (name, redirect string) {
	clean := strings.TrimPrefix(path.Clean("/"+urlPath), "/")
	for part := range strings.SplitSeq(clean, "/") {
		if strings.HasPrefix(part, ".") && part != ".well-known" {
			return "", ""
		}
	}
	if clean == "" {
		clean = "."
	}
	info, err := fs.Stat(s.files, clean)
	switch {
	case err == nil && info.IsDir():
		index := path.Join(clean, "index.html")
		if _, err := fs.Stat(s.files, index); err != nil {
			return "", ""
		}
		if !strings.HasSuffix(urlPath, "/") {
			return "", "/" + clean + "/"
		}
		return index, ""
	case err == nil && info.Mode().IsRegular():
		return clean, ""
	}
	if info, err := fs.Stat(s.files, clean+".html"); err == nil && info.Mode().IsRegular() {
		return clean + ".html", ""
	}
	return "", ""
}

func (s *Site) send(w http.ResponseWriter, r *http.Request, name string, status int) {
	if kind := mime.TypeByExtension(path.Ext(name)); kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.Header().Set("Cache-Control", cacheControl(name))
	p, err := s.load(name)
	if err != nil {
		http.Error(w, "this file cannot be read", http.StatusInternalServerError)
		return
	}
	if p == nil {
		s.stream(w, r, name)
		return
	}
	body, etag := p.plain, p.etag
	if p.packed != nil {
		w.Header().Set("Vary", "Accept-Encoding")
		if accepts(r.Header.Get("Accept-Encoding")) && r.Header.Get("Range") == "" {
			body, etag = p.packed, strings.TrimSuffix(p.etag, `"`)+`-gz"`
			w.Header().Set("Content-Encoding", "gzip")
		}
	}
	w.Header().Set("Etag", etag)
	if status != http.StatusOK {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(status)
		if r.Method == http.MethodGet {
			_, _ = w.Write(body) // the client is gone if this does not work
		}
		return
	}
	http.ServeContent(w, r, name, p.modified, bytes.NewReader(body))
}

// stream sends a file too large to be held.
func (s *Site) stream(w http.ResponseWriter, r *http.Request, name string) {
	f, err := s.files.Open(name)
	if err != nil {
		http.Error(w, "this file cannot be read", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	seeker, ok := f.(io.ReadSeeker)
	if err != nil || !ok {
		http.Error(w, "this file cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Etag", fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano()))
	http.ServeContent(w, r, name, info.ModTime(), seeker)
}

// load reads a file once; nil means that it is too large to be held.
func (s *Site) load(name string) (*page, error) {
	s.mu.Lock()
	p, known := s.pages[name]
	s.mu.Unlock()
	if known {
		return p, nil
	}
	info, err := fs.Stat(s.files, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > pageLimitBytes {
		return nil, nil
	}
	data, err := fs.ReadFile(s.files, name)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	p = &page{name: name, etag: `"` + hex.EncodeToString(sum[:16]) + `"`, plain: data}
	if info.ModTime().Unix() > 0 { // files of an image have no time
		p.modified = info.ModTime()
	}
	if len(data) >= packFromBytes && worthPacking(name) {
		if packed := pack(data); len(packed) < len(data)*9/10 {
			p.packed = packed
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if size := int64(len(p.plain) + len(p.packed)); s.held+size <= holdLimitBytes && s.pages[name] == nil {
		s.pages[name] = p
		s.held += size
	}
	return p, nil
}

func pack(data []byte) []byte {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil
	}
	if _, err := z.Write(data); err != nil {
		return nil
	}
	if err := z.Close(); err != nil {
		return nil
	}
	return out.Bytes()
}

func worthPacking(name string) bool {
	kind, _, _ := strings.Cut(mime.TypeByExtension(path.Ext(name)), ";")
	if strings.HasPrefix(kind, "text/") {
		return true
	}
	switch kind {
	case "application/javascript", "application/json", "application/xml", "application/wasm", "image/svg+xml", "application/manifest+json":
		return true
	}
	return strings.HasSuffix(name, ".map")
}

// accepts says whether a client takes gzip.
func accepts(header string) bool {
	for offer := range strings.SplitSeq(header, ",") {
		coding, rest, _ := strings.Cut(strings.TrimSpace(offer), ";")
		if coding != "gzip" && coding != "*" {
			continue
		}
		q := strings.TrimSpace(rest)
		return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
	}
	return false
}

// hashedName finds names that change with their content, as bundlers make them: app.4f3a9c1b.js, index-BqX1k2_z.css.
var hashedName = regexp.MustCompile(`[.-]([0-9a-f]{8,}|[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]{7,})\.(js|mjs|css|woff2?|png|jpe?g|svg|webp|avif|wasm)$`)

func cacheControl(name string) string {
	if hashedName.MatchString(name) {
		return "public, max-age=31536000, immutable"
	}
	return "no-cache" // kept, but asked for again; the ETag makes that cheap
}
