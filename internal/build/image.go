package build

import (
	"bytes"
	"context"
	"encoding/pem"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nonroot is the user that images without a base run as, with the number other minimal bases use.
const nonroot = 65532

const (
	certificatesPath = "etc/ssl/certs/ca-certificates.crt"
	defaultPath      = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// baseFiles are what a program without a distribution below it needs: users, root certificates, a /tmp, a home.
func baseFiles() []layerFile {
	return []layerFile{
		{target: "etc", dir: true},
		{target: "etc/group", data: []byte("root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n")},
		{target: "etc/nsswitch.conf", data: []byte("hosts: files dns\n")},
		{target: "etc/passwd", data: []byte("root:x:0:0:root:/root:/sbin/nologin\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")},
		{target: "etc/ssl", dir: true},
		{target: "etc/ssl/certs", dir: true},
		{target: certificatesPath, data: rootCertificates()},
		{target: "home", dir: true},
		{target: "home/nonroot", dir: true, mode: 0o700, uid: nonroot},
		{target: "root", dir: true, mode: 0o700},
		{target: "tmp", dir: true, mode: 0o1777},
		{target: "usr", dir: true},
		{target: "usr/bin", dir: true},
		{target: "var", dir: true},
		{target: "var/run", dir: true},
		{target: "var/tmp", dir: true, mode: 0o1777},
	}
}

// rootCertificates are Mozilla's, from the module this program was built with: the same on every machine.
func rootCertificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil { // a PEM file cannot say a constraint
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer takes all
		}
	}
	return out.Bytes()
}

// imageSpec is an image about to be put together.
type imageSpec struct {
	os, arch string
	// base to build on; empty means the files above.
	base   v1.Image
	layers []v1.Layer
	config v1.Config
}

// add puts one more layer on top.
func (s *imageSpec) add(j *job, files []layerFile) error {
	l, err := j.layer(files)
	if err == nil {
		s.layers = append(s.layers, l)
	}
	return err
}

func (s *imageSpec) image(ctx context.Context, j *job) (v1.Image, error) {
	if s.base == nil && j.Base != "" && j.Base != hostBase {
		var err error
		if s.base, err = j.baseImage(ctx, j.Base, s.os+"/"+s.arch); err != nil {
			return nil, err
		}
	}
	base, layers := s.base, s.layers
	if base == nil {
		base = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		first, err := j.layer(baseFiles())
		if err != nil {
			return nil, err
		}
		layers = append([]v1.Layer{first}, layers...)
	}
	var adds []mutate.Addendum
	for _, l := range layers {
		adds = append(adds, mutate.Addendum{Layer: l, History: v1.History{Created: v1.Time{Time: time.Unix(0, 0).UTC()}, CreatedBy: "fairlead build"}})
	}
	image, err := mutate.Append(base, adds...)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	s.configure(file, j.Labels)
	return mutate.ConfigFile(image, file)
}

func (s *imageSpec) configure(file *v1.ConfigFile, labels map[string]string) {
	if s.base == nil {
		file.OS, file.Architecture = s.os, s.arch
		file.Config.Env = []string{"PATH=" + defaultPath, "SSL_CERT_FILE=/" + certificatesPath}
		file.Config.User = "65532:65532"
		file.Config.WorkingDir = "/"
	}
	c := s.config
	file.Config.Env = append(slices.Clone(file.Config.Env), c.Env...)
	if c.Entrypoint != nil {
		file.Config.Entrypoint, file.Config.Cmd = c.Entrypoint, c.Cmd
	}
	if c.WorkingDir != "" {
		file.Config.WorkingDir = c.WorkingDir
	}
	if c.User != "" {
		file.Config.User = c.User
	}
	if len(labels) > 0 {
		all := maps.Clone(file.Config.Labels)
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, labels)
		file.Config.Labels = all
	}
}

// platform gives the one platform of a builder that makes no other.
func (j *job) platform() (goos, arch string) {
	goos, arch, _ = strings.Cut(j.Platforms[0], "/")
	return goos, arch
}
