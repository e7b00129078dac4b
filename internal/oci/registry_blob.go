package oci

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

func (s *Store) serveBlob(w http.ResponseWriter, r *http.Request, e endpoint) {
	if !s.allow(w, r, http.MethodGet, http.MethodHead, http.MethodDelete) {
		return
	}
	d, err := digest.Parse(e.arg)
	if err != nil {
		s.refuse(w, http.StatusBadRequest, codeDigestInvalid, fmt.Errorf("digest %q: %w", e.arg, err))
		return
	}
	if r.Method == http.MethodDelete {
		if err := s.removeBlob(e.repo, d); err != nil {
			s.answer(w, err, codeBlobUnknown)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if !s.repositoryHolds(e.repo, d) {
		s.refuse(w, http.StatusNotFound, codeBlobUnknown, fmt.Errorf("repository %s has no blob %s", e.repo, d))
		return
	}
	f, _, err := s.blobs.open(d)
	if err != nil {
		s.answer(w, err, codeBlobUnknown)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Etag", `"`+d.String()+`"`)
	http.ServeContent(rawWriter(w), r, "", time.Time{}, f)
}

// rawWriter gives the server's own writer, which sends files without copying them through this process.
func rawWriter(w http.ResponseWriter) http.ResponseWriter {
	if rec, ok := w.(*statusRecorder); ok {
		return rec.ResponseWriter
	}
	return w
}

func (s *Store) repositoryHolds(repo string, d digest.Digest) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.catalog[repo].holds(d)
}

// removeBlob takes a blob out of a repository. The content goes when nothing else uses it.
func (s *Store) removeBlob(repo string, d digest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.catalog[repo]
	if !r.holds(d) {
		return fmt.Errorf("repository %s, blob %s: %w", repo, d, ErrNotFound)
	}
	if n := r.used[d]; n > 0 {
		return fmt.Errorf("blob %s is %w by %d manifest(s) of %s: delete those first", d, ErrInUse, n, repo)
	}
	delete(r.uploaded, d)
	s.catalog.drop(repo)
	return nil
}

func (s *Store) serveUpload(w http.ResponseWriter, r *http.Request, e endpoint) {
	if e.arg == "" {
		if s.allow(w, r, http.MethodPost) {
			s.startUpload(w, r, e.repo)
		}
		return
	}
	if !s.allow(w, r, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPut, http.MethodDelete) {
		return
	}
	u := s.uploads.get(e.repo, e.arg)
	if u == nil {
		s.refuse(w, http.StatusNotFound, codeBlobUploadUnknown, fmt.Errorf("repository %s has no upload %q: start again", e.repo, e.arg))
		return
	}
	switch r.Method {
	case http.MethodDelete:
		s.uploads.cancel(u)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch:
		if s.receive(w, r, u) {
			uploadHeaders(w, u)
			w.WriteHeader(http.StatusAccepted)
		}
	case http.MethodPut:
		if s.receive(w, r, u) {
			s.finishUpload(w, r, u)
		}
	default:
		uploadHeaders(w, u)
		w.WriteHeader(http.StatusNoContent)
	}
}

func uploadHeaders(w http.ResponseWriter, u *upload) {
	w.Header().Set("Location", "/v2/"+u.repo+"/blobs/uploads/"+u.id)
	w.Header().Set("Docker-Upload-UUID", u.id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(u.written()-1, 0)))
}

func (s *Store) startUpload(w http.ResponseWriter, r *http.Request, repo string) {
	query := r.URL.Query()
	if mount := query.Get("mount"); mount != "" && s.mount(repo, query.Get("from"), mount) {
		created(w, repo, digest.Digest(mount))
		return
	}
	d := query.Get("digest")
	if d != "" {
		if err := digest.Digest(d).Validate(); err != nil {
			s.refuse(w, http.StatusBadRequest, codeDigestInvalid, fmt.Errorf("digest %q: %w", d, err))
			return
		}
	}
	u, err := s.uploads.create(s, repo)
	if err != nil {
		s.answer(w, err, codeNameUnknown)
		return
	}
	if d == "" {
		uploadHeaders(w, u)
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if s.receive(w, r, u) {
		s.finishUpload(w, r, u)
	}
}

// mount gives a repository a blob that another one has (from), or that any one has when from is empty.
func (s *Store) mount(repo, from, arg string) bool {
	d, err := digest.Parse(arg)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.catalog[from].holds(d)
	if from == "" {
		for _, r := range s.catalog {
			found = found || r.holds(d)
		}
	}
	if !found || !s.blobs.refresh(d) {
		return false
	}
	s.catalog.repository(repo).uploaded[d] = s.now()
	return true
}

// receive appends the request's body to the upload, if its range follows what is there.
func (s *Store) receive(w http.ResponseWriter, r *http.Request, u *upload) bool {
	if given := r.Header.Get("Content-Range"); given != "" {
		if err := checkRange(given, u.written(), r.ContentLength); err != nil {
			uploadHeaders(w, u)
			s.refuse(w, http.StatusRequestedRangeNotSatisfiable, codeBlobUploadInvalid, err)
			return false
		}
	}
	_, err := u.writeFrom(r.Context(), r.Body)
	switch {
	case err == nil:
		return true
	case errors.Is(err, io.ErrUnexpectedEOF) || r.Context().Err() != nil:
		s.log.Debug("upload cut off", "err", err)
		s.refuse(w, http.StatusBadRequest, codeSizeInvalid, err)
	default:
		if errors.Is(err, ErrFull) || errors.Is(err, syscall.ENOSPC) {
			s.uploads.cancel(u) // what came of it takes the last space from all others, and the store of objects may be among them
		}
		s.answer(w, err, codeBlobUploadUnknown)
	}
	return false
}

// checkRange holds a Content-Range of the form <first>-<last> against the bytes that are there.
func checkRange(given string, have, length int64) error {
	given = strings.TrimPrefix(given, "bytes ")
	given, _, _ = strings.Cut(given, "/")
	first, last, ok := strings.Cut(given, "-")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	switch {
	case !ok || err1 != nil || err2 != nil || from < 0 || to < from-1:
		return fmt.Errorf("Content-Range %q is not <first byte>-<last byte>", given)
	case from != have:
		return fmt.Errorf("Content-Range starts at %d, but %d bytes are here: ask for the state of the upload and go on from there", from, have)
	case length >= 0 && to-from+1 != length:
		return fmt.Errorf("Content-Range has %d bytes, but the body has %d", to-from+1, length)
	}
	return nil
}

func (s *Store) finishUpload(w http.ResponseWriter, r *http.Request, u *upload) {
	d := digest.Digest(r.URL.Query().Get("digest"))
	if err := s.commit(u, d); err != nil {
		s.answer(w, err, codeBlobUploadUnknown)
		return
	}
	created(w, u.repo, d)
}

func created(w http.ResponseWriter, repo string, d digest.Digest) {
	w.Header().Set("Location", (&url.URL{Path: "/v2/" + repo + "/blobs/" + d.String()}).String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
}
