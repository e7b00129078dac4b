// Package oci keeps container images: one content-addressed OCI image layout in a folder, the distribution protocol
// over it, and root file systems unpacked from it.
//
// A [Store] owns its folder alone; a lock file refuses a second owner. What it promises:
//
//   - A blob that was acknowledged is on disk, whole, under its digest: it was written aside, synced, and renamed.
//   - A blob that is handed out matches its digest; a damaged one is set aside and reported, never served as good.
//   - What a tag, a manifest in use or a root file system in use needs is never collected.
//
// All methods may be called at once from many goroutines. Readers never wait for an upload.
//
//	s, err := oci.New(oci.Config{Dir: dir, Hosts: []string{"127.0.0.1:5000"}})
//	...
//	r, err := s.Resolve(ctx, oci.ResolveRequest{Reference: "127.0.0.1:5000/hello:latest"})
//	root, err := s.RootFS(ctx, r.Digest)
//	defer root.Close()
//	// mount overlay, lowerdir = strings.Join(root.Lower, ":")
package oci
