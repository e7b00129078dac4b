package controller

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// Every instance can reach the API as its service account, as in Kubernetes: by the name apiHost, with the files of apiFolder.
const (
	apiHost   = "kubernetes.default.svc"
	apiPort   = "443"
	apiFolder = "/var/run/secrets/kubernetes.io/serviceaccount"
	// apiVolume is the volume with these files; no manifest can name one so.
	apiVolume = "kube-api-access"
)

// How long the token of a service account lives, after what time the next instance gets a new one, and when an instance's own is
// replaced. Instances share tokens, so that a spare costs no signature of its own.
const (
	apiTokenLife   = 24 * time.Hour
	apiTokenShare  = 6 * time.Hour
	apiTokenRenew  = 12 * time.Hour
	apiTokenSpread = 4 * time.Hour
)

// apiAccess gives instances what they need to reach the API.
type apiAccess struct {
	c       *Controller
	address string
	ca      []byte

	mu    sync.Mutex
	files map[types.UID]apiFiles // by service account
}

// apiFiles are shared by instances and never changed.
type apiFiles struct {
	made  time.Time
	files map[string]sandbox.File
}

// newAPIAccess gives nil where the daemon says nothing about the API.
func newAPIAccess(c *Controller) *apiAccess {
	if c.conf.APIAddress == "" {
		return nil
	}
	return &apiAccess{c: c, address: c.conf.APIAddress, ca: c.conf.APICertificate, files: map[types.UID]apiFiles{}}
}

// account reads the service account of a pod. One that was made just now may not be listed yet.
func (a *apiAccess) account(ctx context.Context, namespace string, pod *corev1.PodSpec) (*corev1.ServiceAccount, error) {
	account, err := a.c.listers.accounts.ServiceAccounts(namespace).Get(serviceAccount(pod))
	if apierrs.IsNotFound(err) {
		account, err = a.c.kube.CoreV1().ServiceAccounts(namespace).Get(ctx, serviceAccount(pod), metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("service account of the token that is mounted by default (automountServiceAccountToken: false does without): %w", err)
	}
	return account, nil
}

// volume adds the volume that a pod gets beside its own, unless pod or account do without.
func (a *apiAccess) volume(ctx context.Context, meta *metav1.ObjectMeta, pod *corev1.PodSpec, result *volumeResult) error {
	if a == nil || !automounts(pod.AutomountServiceAccountToken, nil) {
		return nil
	}
	account, err := a.account(ctx, meta.Namespace, pod)
	if err != nil || !automounts(pod.AutomountServiceAccountToken, account.AutomountServiceAccountToken) {
		return err
	}
	files, err := a.filesOf(ctx, account)
	if err != nil {
		return err
	}
	renew := a.c.now().Add(apiTokenRenew + rand.N(apiTokenSpread)) //nolint:gosec // only spreads work
	if result.refresh.IsZero() || renew.Before(result.refresh) {
		result.refresh = renew
	}
	result.volumes = append(result.volumes, sandbox.Volume{Name: apiVolume, Files: &sandbox.FilesVolume{Files: files}})
	return nil
}

// automounts is what Kubernetes makes of the two settings: the pod's goes before the account's, and neither means yes.
func automounts(pod, account *bool) bool {
	if pod != nil {
		return *pod
	}
	return account == nil || *account
}

// filesOf gives the files of an account, with a token that is young enough.
func (a *apiAccess) filesOf(ctx context.Context, account *corev1.ServiceAccount) (map[string]sandbox.File, error) {
	now := a.c.now()
	a.mu.Lock()
	known, ok := a.files[account.UID]
	a.mu.Unlock()
	if ok && now.Sub(known.made) < apiTokenShare {
		return known.files, nil
	}
	token, err := a.c.serviceAccountToken(ctx, tokenRequest{namespace: account.Namespace, account: account.Name, life: apiTokenLife})
	if err != nil {
		return nil, err
	}
	made := apiFiles{now, map[string]sandbox.File{
		"token":     {Data: []byte(token), Mode: 0o644},
		"ca.crt":    {Data: a.ca, Mode: 0o644},
		"namespace": {Data: []byte(account.Namespace), Mode: 0o644},
	}}
	a.mu.Lock()
	defer a.mu.Unlock()
	for uid, old := range a.files {
		if now.Sub(old.made) >= apiTokenShare {
			delete(a.files, uid)
		}
	}
	a.files[account.UID] = made
	return made.files, nil
}

// environment is what client libraries look for.
func (a *apiAccess) environment() []string {
	if a == nil {
		return nil
	}
	return []string{"KUBERNETES_SERVICE_HOST=" + apiHost, "KUBERNETES_SERVICE_PORT=" + apiPort, "KUBERNETES_SERVICE_PORT_HTTPS=" + apiPort}
}

// mountAPI adds the volume to a container, unless it has something else in that place.
func (t *translator) mountAPI(c *sandbox.Container, in *corev1.Container, volumes []sandbox.Volume) {
	taken := slices.ContainsFunc(in.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == apiFolder })
	if !taken && slices.ContainsFunc(volumes, func(v sandbox.Volume) bool { return v.Name == apiVolume }) {
		c.Mounts = append(c.Mounts, sandbox.Mount{Volume: apiVolume, Path: apiFolder, ReadOnly: true})
	}
}

// meansAPI says whether an instance of a namespace means the API by a host name.
func (c *Controller) meansAPI(host, namespace string) bool {
	k, ok := serviceOfHost(host, namespace)
	return ok && c.access != nil && k == key{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}
}

// connectAPI joins an instance with the API, which asks for its token. What is not the API's port is closed.
func (c *Controller) connectAPI(ctx context.Context, o sandbox.Outbound) {
	if port := strconv.Itoa(int(o.Addr.Port())); port != apiPort {
		c.log.Debug("connection to the API on another port", "port", port)
		return
	}
	dialer := net.Dialer{Timeout: podDialTimeout}
	upstream, err := dialer.DialContext(ctx, "tcp", c.access.address)
	if err != nil {
		c.log.Warn("connection of an instance to the API", "err", err)
		return
	}
	join(ctx, o.Conn, upstream)
}
