package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// ImageSettings are the settings of the image store and its registry.
type ImageSettings struct {
	// Mirrors have the form PREFIX=ENDPOINT: pulls of repositories below PREFIX are tried there first. A prefix may come
	// more than once.
	Mirrors []string
	// Aliases have the form FROM=TO: references that begin with FROM mean the same with TO in its place.
	Aliases []string
	// PlainHTTP lists registries that are spoken to without TLS.
	PlainHTTP []string
	// LimitBytes is the most that image content may take on disk; 0 means no limit.
	LimitBytes int64
}

func (i *ImageSettings) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&i.Mirrors, "image-mirror", i.Mirrors, "where to try pulls first, as in docker.io=mirror.example.com/hub")
	flags.StringSliceVar(&i.Aliases, "image-alias", i.Aliases, "other beginning for references, as in gcr.io/samples=localhost:5000/samples")
	flags.StringSliceVar(&i.PlainHTTP, "image-plain-http", i.PlainHTTP, "registries to speak to without TLS (those on the loopback interface always may be)")
	flags.Int64Var(&i.LimitBytes, "image-limit", i.LimitBytes, "most bytes that images may take on disk, 0 for no limit")
}

// apply puts the settings into the configuration of the store.
func (i *ImageSettings) apply(c *oci.Config) error {
	c.SizeLimitBytes = i.LimitBytes
	c.Remotes.PlainHTTP = i.PlainHTTP
	if i.LimitBytes < 0 {
		return fmt.Errorf("setting image-limit: %d is negative", i.LimitBytes)
	}
	for _, text := range i.Aliases {
		from, to, ok := strings.Cut(text, "=")
		if _, err := oci.ParseReference(to); !ok || from == "" || err != nil {
			return fmt.Errorf("setting image-alias: %q is not FROM=TO, with TO an image or its beginning", text)
		}
		c.Aliases = append(c.Aliases, oci.Alias{From: from, To: to})
	}
	for _, text := range i.Mirrors {
		prefix, endpoint, ok := strings.Cut(text, "=")
		if !ok || prefix == "" || endpoint == "" {
			return fmt.Errorf("setting image-mirror: %q is not PREFIX=ENDPOINT", text)
		}
		c.Remotes.Mirrors = addMirror(c.Remotes.Mirrors, prefix, endpoint)
	}
	return nil
}

func addMirror(mirrors []oci.Mirror, prefix, endpoint string) []oci.Mirror {
	for n := range mirrors {
		if mirrors[n].Prefix == prefix {
			mirrors[n].Endpoints = append(mirrors[n].Endpoints, endpoint)
			return mirrors
		}
	}
	return append(mirrors, oci.Mirror{Prefix: prefix, Endpoints: []string{endpoint}})
}

// registryToken is the password of the registry: none on the loopback interface, where only users of this machine are;
// else what the file in the home folder has, which is made at the first start.
func (w *wiring) registryToken() (string, error) {
	host, _, err := net.SplitHostPort(w.settings.RegistryListen)
	if err != nil {
		return "", fmt.Errorf("setting registry-listen: %w", err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return "", nil
	}
	path := w.path("registry-token")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(rand.Text() + "\n")
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("registry token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("registry token: %s is empty: remove it, and the next start makes a new one", path)
	}
	return token, nil
}

const registryTokenKey = "registryToken"

// publishRegistryToken lets those who may read the daemon's Secrets push and pull.
func publishRegistryToken(ctx context.Context, client kubernetes.Interface, token string) error {
	if token == "" {
		return nil
	}
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: InfoName, Namespace: InfoNamespace}, Data: map[string][]byte{registryTokenKey: []byte(token)},
	}
	secrets := client.CoreV1().Secrets(InfoNamespace)
	_, err := secrets.Create(ctx, object, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(ctx, object, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("publish the registry token: %w", err)
	}
	return nil
}

// ReadRegistryToken asks the API for the registry's token; it is empty when the registry asks for none.
func ReadRegistryToken(ctx context.Context, client kubernetes.Interface) (string, error) {
	object, err := client.CoreV1().Secrets(InfoNamespace).Get(ctx, InfoName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the registry token: %w", err)
	}
	return string(object.Data[registryTokenKey]), nil
}
