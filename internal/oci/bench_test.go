package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-dev/fairlead/internal/oci/ocitest"
)

// registries are the ones a benchmark compares, each by its address.
func registries(b *testing.B) map[string]string {
	b.Helper()
	all := map[string]string{}
	all["fairlead"], _ = startServing(b, b.TempDir()) // a process of its own, like the other
	if _, err := exec.LookPath("docker-registry"); err == nil {
		all["docker-registry"] = startDebianRegistry(b)
	}
	return all
}

const benchBlobBytes = 64 << 20

// pushBlob sends a blob as docker does: start an upload, stream it, finish it.
func pushBlob(host, repo string, d digest.Digest, body io.Reader, size int64) error {
	resp, err := http.Post("http://"+host+"/v2/"+repo+"/blobs/uploads/", "", nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	location := resp.Header.Get("Location")
	if strings.HasPrefix(location, "/") {
		location = "http://" + host + location
	}
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	req, err := http.NewRequest(http.MethodPut, location+separator+"digest="+d.String(), body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err = http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("push: %s: %s", resp.Status, text)
	}
	return nil
}

func randomBytes(n int, seed byte) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func BenchmarkPush(b *testing.B) {
	for name, host := range registries(b) {
		b.Run(name, func(b *testing.B) {
			data := randomBytes(benchBlobBytes, 1)
			b.SetBytes(benchBlobBytes)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				copy(data, fmt.Sprint(i, b.N)) // another blob each time
				d := digest.FromBytes(data)
				b.StartTimer()
				if err := pushBlob(host, "bench/app", d, bytes.NewReader(data), benchBlobBytes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPull(b *testing.B) {
	for name, host := range registries(b) {
		b.Run(name, func(b *testing.B) {
			data := randomBytes(benchBlobBytes, 2)
			d := digest.FromBytes(data)
			if err := pushBlob(host, "bench/app", d, bytes.NewReader(data), benchBlobBytes); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(benchBlobBytes)
			for b.Loop() {
				resp, err := http.Get("http://" + host + "/v2/bench/app/blobs/" + d.String())
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || n != benchBlobBytes {
					b.Fatalf("%d bytes, %v", n, err)
				}
			}
		})
	}
}

// manyFiles is a layer of files as a distribution has them: mostly small.
func manyFiles(tb testing.TB, files int) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	words := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog, and so on. ", 2000))
	for i := range files {
		content := words[:1+(i*7919)%len(words)/(1+i%4)]
		name := fmt.Sprintf("usr/share/d%d/f%d", i/100, i)
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func BenchmarkUnpack(b *testing.B) {
	const files = 5000
	layer := manyFiles(b, files)
	s := ocitest.Store(b)
	d := ocitest.AddLayers(b, s, "app", "v1", layer)
	var archive bytes.Buffer
	if err := s.Export("app:v1", &archive); err != nil {
		b.Fatal(err)
	}
	b.Run("fairlead", func(b *testing.B) {
		b.SetBytes(int64(len(layer)))
		for b.Loop() {
			b.StopTimer()
			fresh := ocitest.Store(b)
			if _, err := fresh.Import(b.Context(), "", bytes.NewReader(archive.Bytes())); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			root, err := fresh.RootFS(b.Context(), d)
			if err != nil {
				b.Fatal(err)
			}
			root.Close()
		}
		b.ReportMetric(float64(files*b.N)/b.Elapsed().Seconds(), "files/s")
	})
	b.Run("umoci", func(b *testing.B) {
		if _, err := exec.LookPath("umoci"); err != nil {
			b.Skip("umoci is not installed")
		}
		layout := b.TempDir()
		for r := tar.NewReader(&archive); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				b.Fatal(err)
			}
			path := filepath.Join(layout, h.Name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o644); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(layer)))
		for i := 0; b.Loop(); i++ {
			out, err := exec.Command("umoci", "raw", "unpack", "--image", layout+":v1", filepath.Join(b.TempDir(), "rootfs")).CombinedOutput()
			if err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
		b.ReportMetric(float64(files*b.N)/b.Elapsed().Seconds(), "files/s")
	})
}

// BenchmarkGigabyteLayer pushes a layer of 1 GB to a process of its own, which then unpacks it, and reports the most
// memory that process ever had.
func BenchmarkGigabyteLayer(b *testing.B) {
	const fileBytes = 1 << 30
	for b.Loop() {
		host, child := startServing(b, b.TempDir())
		layer := func(out io.Writer) error {
			w := tar.NewWriter(out)
			if err := w.WriteHeader(&tar.Header{Name: "big", Typeflag: tar.TypeReg, Mode: 0o644, Size: fileBytes}); err != nil {
				return err
			}
			if _, err := io.CopyN(w, rand.NewChaCha8([32]byte{7}), fileBytes); err != nil {
				return err
			}
			return w.Close()
		}
		packed := filepath.Join(b.TempDir(), "layer.tar.gz")
		desc, id := packLayer(b, packed, layer)
		f, err := os.Open(packed)
		if err != nil {
			b.Fatal(err)
		}
		if err := pushBlob(host, "big", desc.Digest, f, desc.Size); err != nil {
			b.Fatal(err)
		}
		f.Close()
		os.Remove(packed)
		pushManifest(b, host, "big", desc, id)
		resp, err := http.Get("http://" + host + "/unpack")
		if err != nil {
			b.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("unpack: %s: %s, %v", resp.Status, text, err)
		}
		b.ReportMetric(peakMemory(b, child)/1e6, "peak-MB")
		child.Kill()
	}
}

func packLayer(b *testing.B, path string, write func(io.Writer) error) (ocispec.Descriptor, digest.Digest) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	packed, plain := digest.SHA256.Digester(), digest.SHA256.Digester()
	z, err := gzip.NewWriterLevel(io.MultiWriter(f, packed.Hash()), gzip.HuffmanOnly)
	if err != nil {
		b.Fatal(err)
	}
	if err := write(io.MultiWriter(z, plain.Hash())); err != nil {
		b.Fatal(err)
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: packed.Digest(), Size: info.Size()}, plain.Digest()
}

func pushManifest(b *testing.B, host, repo string, layer ocispec.Descriptor, id digest.Digest) {
	b.Helper()
	config, err := json.Marshal(ocispec.Image{Platform: ocispec.Platform{OS: "linux"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{id}}})
	if err != nil {
		b.Fatal(err)
	}
	d := digest.FromBytes(config)
	if err := pushBlob(host, repo, d, bytes.NewReader(config), int64(len(config))); err != nil {
		b.Fatal(err)
	}
	manifest := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{layer},
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: d, Size: int64(len(config))},
	}
	manifest.SchemaVersion = 2
	data, err := json.Marshal(manifest)
	if err != nil {
		b.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPut, "http://"+host+"/v2/"+repo+"/manifests/latest", bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", ocispec.MediaTypeImageManifest)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		b.Fatal(resp.Status)
	}
}
