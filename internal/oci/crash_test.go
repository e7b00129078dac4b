package oci_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

// crashDir names the folder in the environment of the process that is going to be killed.
const (
	crashDir  = "FAIRLEAD_TEST_CRASH_DIR"
	crashFrom = "FAIRLEAD_TEST_CRASH_FROM"
	// servingDir is that of a process whose memory is measured.
	servingDir = "FAIRLEAD_TEST_SERVING_DIR"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := crashing(dir, os.Getenv(crashFrom)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(servingDir); dir != "" {
		if err := serving(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// crashing serves a store while it also pulls, unpacks and collects, until it is killed. It prints its address, and a
// line for each image it has pulled.
func crashing(dir, from string) error {
	s, err := oci.New(oci.Config{
		Dir: dir, Hosts: []string{"own.test"}, GracePeriod: 5 * time.Second, CollectEvery: 20 * time.Millisecond,
		Roots:   func(context.Context) ([]digest.Digest, error) { return nil, nil },
		Remotes: oci.Remotes{AuthFiles: []string{}},
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	ctx := context.Background()
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx, nil) })
	wg.Go(func() {
		for i := 0; ; i = (i + 1) % crashImages {
			name := fmt.Sprintf("%s/up/%d", from, i)
			r, err := s.Resolve(ctx, oci.ResolveRequest{Reference: name, Policy: oci.Always})
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			fmt.Println("pulled", name, r.Digest)
			root, err := s.RootFS(ctx, r.Digest)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			root.Close()
		}
	})
	return http.Serve(l, s.Handler())
}

const crashImages = 5

// pushImage pushes an image of random content by the protocol, as a client does.
func pushImage(ctx context.Context, host, repo, tag string, content []byte) (digest.Digest, error) {
	do := func(method, path, contentType string, body []byte, want int) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", contentType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			return nil, fmt.Errorf("%s %s: %s", method, path, resp.Status)
		}
		return resp, nil
	}
	base := "http://" + host + "/v2/" + repo
	var descriptors []string
	for i, blob := range [][]byte{[]byte(`{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`), content} {
		d := digest.FromBytes(blob)
		if _, err := do(http.MethodPost, base+"/blobs/uploads/?digest="+d.String(), "application/octet-stream", blob, http.StatusCreated); err != nil {
			return "", err
		}
		mediaType := []string{"application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"}[i]
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, d, len(blob)))
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}`, descriptors[0], descriptors[1])
	_, err := do(http.MethodPut, base+"/manifests/"+tag, "application/vnd.oci.image.manifest.v1+json", manifest, http.StatusCreated)
	return digest.FromBytes(manifest), err
}

// TestKilledInTheMiddle kills a busy store 50 times and checks after each that everything it acknowledged is there and
// whole, that nothing on disk is corrupt, and that what it left behind is reclaimed.
func TestKilledInTheMiddle(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	up := startUpstream(t, "", nil)
	for i := range crashImages {
		ocitest.Add(t, up.store, fmt.Sprintf("up/%d", i), "latest", text(strings.Repeat(fmt.Sprint("content ", i), 30_000)))
	}
	dir := t.TempDir()
	acknowledged := map[string]digest.Digest{}
	for round := range rounds {
		killOnce(t, dir, up.host, round, acknowledged)
		checkAfterCrash(t, dir, acknowledged)
		if t.Failed() {
			t.Fatalf("after round %d of %d", round+1, rounds)
		}
	}
	t.Logf("%d images acknowledged in %d rounds", len(acknowledged), rounds)
}

func killOnce(t *testing.T, dir, from string, round int, acknowledged map[string]digest.Digest) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashFrom+"="+from)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		cmd.Wait()
		t.Fatalf("the store does not open: %s", &complaints)
	}
	host := lines.Text()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards acknowledged
	for worker := range 2 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				content := make([]byte, 1+rand.IntN(400_000))
				rand.NewChaCha8([32]byte{byte(round), byte(worker), byte(n)}).Read(content)
				repo, tag := fmt.Sprintf("team/%d", worker), fmt.Sprintf("r%d-%d", round, n%3)
				mu.Lock()
				delete(acknowledged, repo+":"+tag) // while it is being replaced, either answer is right
				mu.Unlock()
				d, err := pushImage(ctx, host, repo, tag, content)
				if err != nil {
					return
				}
				mu.Lock()
				acknowledged[repo+":"+tag] = d
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for lines.Scan() {
			if f := strings.Fields(lines.Text()); len(f) == 3 {
				mu.Lock()
				acknowledged[f[1]] = digest.Digest(f[2])
				mu.Unlock()
			}
		}
	})
	<-time.After(time.Duration(30+rand.IntN(250)) * time.Millisecond)
	cmd.Process.Kill()
	cancel()
	wg.Wait()
	cmd.Wait()
	if complaints.Len() > 0 {
		t.Errorf("the store complained before it was killed: %s", &complaints)
	}
}

// checkAfterCrash opens the folder and holds it against what was promised.
func checkAfterCrash(t *testing.T, dir string, acknowledged map[string]digest.Digest) {
	t.Helper()
	s, err := oci.New(oci.Config{
		Dir: dir, Hosts: []string{"own.test"},
		Roots: func(context.Context) ([]digest.Digest, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if left, err := os.ReadDir(filepath.Join(dir, "uploads")); err != nil || len(left) > 0 {
		t.Errorf("uploads has %d entries, %v", len(left), err)
	}
	for name, want := range acknowledged {
		details, err := s.Inspect(name)
		if err != nil || details.Digest != want {
			// An image that is not runnable (no diff IDs) still has its summary.
			if details.Digest != want {
				t.Errorf("%s is %s, %v, acknowledged was %s", name, details.Digest, err, want)
			}
		}
	}
	if _, err := s.Prune(t.Context(), oci.PruneRequest{Now: true}); err != nil {
		t.Fatal(err)
	}
	needed := map[digest.Digest]bool{}
	for _, line := range s.List() {
		needed[line.Digest] = true
		_, data, err := s.Manifest(line.Digest)
		if err != nil {
			t.Errorf("manifest %s: %v", line.Digest, err)
		}
		for _, d := range digestsIn(data) {
			needed[d] = true
			f, _, err := s.Blob(d)
			if err != nil {
				t.Errorf("%s:%v needs blob %s: %v", line.Repository, line.Tags, d, err)
				continue
			}
			f.Close()
		}
	}
	err = filepath.WalkDir(filepath.Join(dir, "blobs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(path))), e.Name())
		data, err := os.ReadFile(path)
		if err == nil && d.Algorithm().FromBytes(data) != d {
			err = errors.New("it is corrupt")
		}
		if err == nil && !needed[d] {
			err = errors.New("nothing needs it, and it was not collected")
		}
		if err != nil {
			t.Errorf("blob %s: %v", d, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// digestsIn finds the digests a manifest names.
func digestsIn(manifest []byte) []digest.Digest {
	var found []digest.Digest
	for part := range strings.SplitSeq(string(manifest), `"`) {
		if d, err := digest.Parse(part); err == nil {
			found = append(found, d)
		}
	}
	return found
}

// TestDamagedBlobIsNotServed flips a bit on disk: the store must notice, and take a good copy again.
func TestDamagedBlobIsNotServed(t *testing.T) {
	up := startUpstream(t, "", nil)
	ocitest.Add(t, up.store, "app", "latest", text("content"))
	dir := t.TempDir()
	s := open(t, oci.Config{Dir: dir})
	r := resolve(t, s, up.host+"/app", "")
	image, err := s.Image(t.Context(), r.Digest)
	if err != nil {
		t.Fatal(err)
	}
	layer := image.Layers[0].Digest
	path := filepath.Join(dir, "blobs", "sha256", layer.Encoded())
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Blob(layer); !errors.Is(err, oci.ErrDamaged) {
		t.Errorf("a damaged blob gives %v", err)
	}
	if _, err := s.RootFS(t.Context(), r.Digest); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("a root file system without its layer gives %v", err)
	}
	resolve(t, s, up.host+"/app", "") // brings it again
	root, err := s.RootFS(t.Context(), r.Digest)
	if err != nil {
		t.Fatal(err)
	}
	root.Close()
}
