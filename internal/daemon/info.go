package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// A daemon tells its clients where it listens in one ConfigMap, so that a command needs nothing but the API.
const (
	InfoNamespace = "fairlead-system"
	InfoName      = "fairlead-info"
)

// Keys of the ConfigMap. Values are host:port, but for the domain, the authority and the list of runtimes.
const (
	infoGateway    = "gateway"
	infoGatewayTLS = "gatewayTLS"
	infoRegistry   = "registry"
	infoMetrics    = "metrics"
	infoDomain     = "domain"
	infoAuthority  = "ca.crt"
	infoRuntimes   = "runtimes"
)

// Info is what a client needs to know of a running daemon; addresses are host:port, empty for a disabled component.
type Info struct {
	Addresses
	Domain string
	// Authority is the certificate, in PEM, of the authority that the gateway's own certificates come from.
	Authority string
	// Runtimes are the drivers that instances can have, the default one first; empty for a daemon without sandbox.
	Runtimes []string
}

// ReadInfo asks the API where the other components of the daemon listen. The error is ErrStarting as long as not all of
// them do.
func ReadInfo(ctx context.Context, client kubernetes.Interface) (Info, error) {
	object, err := client.CoreV1().ConfigMaps(InfoNamespace).Get(ctx, InfoName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Info{}, ErrStarting
	}
	if err != nil {
		return Info{}, fmt.Errorf("read where the daemon listens: %w", err)
	}
	d := object.Data
	return Info{
		Addresses: Addresses{Gateway: d[infoGateway], GatewayTLS: d[infoGatewayTLS], Registry: d[infoRegistry], Metrics: d[infoMetrics]},
		Domain:    d[infoDomain],
		Authority: d[infoAuthority],
		Runtimes:  strings.Fields(d[infoRuntimes]),
	}, nil
}

// ErrStarting says that a daemon is there and not ready yet.
var ErrStarting = errors.New("the daemon is still starting")

// forgetInfo removes what an earlier daemon has published, so that nobody takes it for what is true now.
func forgetInfo(ctx context.Context, client kubernetes.Interface) error {
	err := client.CoreV1().ConfigMaps(InfoNamespace).Delete(ctx, InfoName, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("forget where an earlier daemon listened: %w", err)
	}
	return nil
}

// publishInfo writes the ConfigMap that ReadInfo reads.
func publishInfo(ctx context.Context, client kubernetes.Interface, info Info) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: InfoNamespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("publish where the daemon listens: %w", err)
	}
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: InfoName, Namespace: InfoNamespace},
		Data: map[string]string{
			infoGateway: info.Gateway, infoGatewayTLS: info.GatewayTLS, infoRegistry: info.Registry,
			infoMetrics: info.Metrics, infoDomain: info.Domain, infoAuthority: info.Authority,
			infoRuntimes: strings.Join(info.Runtimes, " "),
		},
	}
	maps := client.CoreV1().ConfigMaps(InfoNamespace)
	_, err := maps.Create(ctx, object, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(ctx, object, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("publish where the daemon listens: %w", err)
	}
	return nil
}

// runtimes lists the drivers that a sandbox manager has, the one it prefers first.
func runtimes(has sandbox.Info) []string {
	list := slices.Sorted(maps.Keys(has.Binaries))
	list = slices.DeleteFunc(append(list, "process"), func(name string) bool { return name == has.Runtime })
	return append([]string{has.Runtime}, list...)
}
