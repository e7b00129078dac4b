package controller

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/kmeta"
	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// Labels on sandboxes: who an instance is, for the next daemon and for calls it makes.
const (
	labelNamespace = "fairlead.dev/namespace"
	labelService   = "fairlead.dev/service"
	labelRevision  = "fairlead.dev/revision"
	labelUID       = "fairlead.dev/revision-uid"
	labelPod       = "fairlead.dev/pod"
	labelPodUID    = "fairlead.dev/pod-uid"
	labelIP        = "fairlead.dev/ip"
	labelVersion   = "fairlead.dev/version"
	labelPort      = "fairlead.dev/port"
)

// making is how many instances are created at the same time; more would only slow each other down.
const making = 8

// boxSet makes instances in the sandbox and keeps their files up to date while they run.
type boxSet struct {
	c     *Controller
	slots chan struct{}
	jobs  sync.WaitGroup

	mu  sync.Mutex // guards the maps
	all map[string]*madeBox
	// users finds boxes by the ConfigMaps, Secrets and claims they refer to.
	users map[string]map[*madeBox]bool
}

func newBoxSet(c *Controller) *boxSet {
	return &boxSet{c: c, slots: make(chan struct{}, making), all: map[string]*madeBox{}, users: map[string]map[*madeBox]bool{}}
}

// wait joins the goroutines that keep files up to date.
func (b *boxSet) wait() {
	for _, m := range b.every() {
		m.end()
	}
	b.jobs.Wait()
}

// newIdentity names a new instance of a revision.
func newIdentity(p *plan) identity {
	base := p.deployment.Name
	if len(base) > 200 {
		base = kmeta.ChildName(base[:200], "")
	}
	return identity{name: base + "-" + shortHash(p.version) + "-" + randomName(5), uid: string(uuid.NewUUID()), ip: randomIP()}
}

// nameAlphabet leaves out vowels and what looks alike, as Kubernetes does.
const nameAlphabet = "bcdfghjklmnpqrstvwxz2456789"

func randomName(n int) string {
	name := make([]byte, n)
	for i := range name {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(nameAlphabet))))
		if err != nil {
			panic("controller: no random numbers: " + err.Error())
		}
		name[i] = nameAlphabet[k.Int64()]
	}
	return string(name)
}

func shortHash(text string) string {
	h := fnv.New32a()
	io.WriteString(h, text) //nolint:errcheck,gosec // a hash does not fail
	return strconv.FormatUint(uint64(h.Sum32()), 36)
}

// randomIP makes up the address an instance is shown with. Nothing is reached by it: instances have no network but
// their own.
func randomIP() string {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck,gosec // does not fail
	return netip.AddrFrom4([4]byte{10, 128 | b[1]&0x7f, b[2], max(b[3], 1)}).String()
}

// makeBox creates a spare for a revision.
func (b *boxSet) makeBox(ctx context.Context, p *plan, id identity) (box, error) {
	rev := p.revision
	t := b.c.newTranslator(podMeta(p, id), p.deployment.Spec.Template.Spec, id.ip)
	t.serving = userPort(rev)
	t.h2c = rev.GetProtocol() == networking.ProtocolH2C
	t.digests = p.digests
	made, err := b.create(ctx, t, map[string]string{
		labelNamespace: rev.Namespace,
		labelService:   serviceOf(rev),
		labelRevision:  rev.Name,
		labelUID:       string(rev.UID),
		labelPod:       id.name,
		labelPodUID:    id.uid,
		labelIP:        id.ip,
		labelVersion:   p.version,
		labelPort:      strconv.Itoa(int(t.serving)),
	})
	if err != nil {
		return nil, err // and not a box that is nil
	}
	return made, nil
}

func podMeta(p *plan, id identity) metav1.ObjectMeta {
	template := p.deployment.Spec.Template.ObjectMeta
	return metav1.ObjectMeta{
		Name: id.name, Namespace: p.revision.Namespace, UID: types.UID(id.uid),
		Labels: template.Labels, Annotations: template.Annotations,
	}
}

// userPort is the port on which the revision's program listens.
func userPort(rev *v1.Revision) int32 {
	if ports := rev.Spec.GetContainer().Ports; len(ports) > 0 && ports[0].ContainerPort != 0 {
		return ports[0].ContainerPort
	}
	return v1.DefaultUserPort
}

func (c *Controller) newTranslator(meta metav1.ObjectMeta, pod corev1.PodSpec, ip string) *translator {
	return &translator{
		meta: meta, pod: pod, ip: ip,
		sources: listedSources{c.listers}, images: c.conf.Images, volumeDir: c.conf.VolumeDir, now: c.now,
		token: c.serviceAccountToken, access: c.access,
		claim: func(namespace, name string) error {
			_, err := c.listers.volumeClaims.PersistentVolumeClaims(namespace).Get(name)
			return err
		},
	}
}

// create translates and creates. On an error nothing is left.
func (b *boxSet) create(ctx context.Context, t *translator, labels map[string]string) (*madeBox, error) {
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	out, err := t.translate(ctx)
	if err != nil {
		return nil, err
	}
	var id [8]byte
	rand.Read(id[:]) //nolint:errcheck,gosec // does not fail
	out.spec.ID = "i" + hex.EncodeToString(id[:])
	out.spec.Labels = labels
	instance, err := b.c.conf.Sandboxes.Create(ctx, out.spec)
	if err != nil {
		out.close()
		return nil, err
	}
	return b.add(instance, t, out), nil
}

// add keeps a box among those that are looked after.
func (b *boxSet) add(instance *sandbox.Instance, t *translator, out *translated) *madeBox {
	port, _ := strconv.ParseUint(instance.Labels()[labelPort], 10, 16)
	m := &madeBox{set: b, instance: instance, port: uint16(port), again: make(chan struct{}, 1)}
	m.complete(t, out)
	ctx, cancel := context.WithCancel(context.Background())
	m.end = cancel
	b.mu.Lock()
	b.all[m.key()] = m
	b.mu.Unlock()
	b.jobs.Go(func() { m.lookAfter(ctx) })
	return m
}

func (b *boxSet) remove(m *madeBox) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all[m.key()] == m {
		delete(b.all, m.key())
	}
	b.refer(m, nil)
}

// refer notes what a box refers to in place of what was noted before. b.mu is held.
func (b *boxSet) refer(m *madeBox, data []string) {
	for _, one := range m.data {
		if delete(b.users[one], m); len(b.users[one]) == 0 {
			delete(b.users, one)
		}
	}
	m.data = data
	for _, one := range data {
		if b.users[one] == nil {
			b.users[one] = map[*madeBox]bool{}
		}
		b.users[one][m] = true
	}
}

// find gives the box of a pod.
func (b *boxSet) find(namespace, pod string) (*madeBox, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, ok := b.all[pod+"."+namespace]
	return m, ok
}

// every gives all boxes.
func (b *boxSet) every() []*madeBox {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.all))
}

// refreshNamed has the files made anew of every instance that refers to a ConfigMap or Secret of this name.
func (b *boxSet) refreshNamed(k key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for m := range b.users[indexKey(k.Namespace, k.Name)] {
		notify(m.again)
	}
}

// serviceAccountToken asks the API for a token.
func (c *Controller) serviceAccountToken(ctx context.Context, r tokenRequest) (string, error) {
	lifeSeconds := int64(r.life / time.Second)
	request := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{ExpirationSeconds: &lifeSeconds}}
	if r.audience != "" {
		request.Spec.Audiences = []string{r.audience}
	}
	answer, err := c.kube.CoreV1().ServiceAccounts(r.namespace).CreateToken(ctx, r.account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token of service account %s/%s: %w", r.namespace, r.account, err)
	}
	return answer.Status.Token, nil
}

// madeBox is an instance in the sandbox with what it holds.
type madeBox struct {
	set      *boxSet
	instance *sandbox.Instance
	port     uint16
	again    chan struct{}
	end      context.CancelFunc
	data     []string // what it refers to, as keys of boxSet.users, whose lock guards it

	mu         sync.Mutex  // guards the fields below
	translator *translator // nil for an adopted one until its owner is known again
	out        *translated
}

// key names the pod that the box shows.
func (m *madeBox) key() string {
	labels := m.instance.Labels()
	return labels[labelPod] + "." + labels[labelNamespace]
}

// parts gives what the box was made with.
func (m *madeBox) parts() (*translator, *translated) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.translator, m.out
}

func (m *madeBox) Start(ctx context.Context) error  { return m.instance.Start(ctx) }
func (m *madeBox) Freeze(ctx context.Context) error { return m.instance.Freeze(ctx) }
func (m *madeBox) Thaw(ctx context.Context) error   { return m.instance.Thaw(ctx) }

// Stop ends the instance and gives its root file systems back.
func (m *madeBox) Stop(ctx context.Context, grace time.Duration) error {
	err := m.instance.Stop(ctx, grace)
	if errors.Is(err, sandbox.ErrGone) {
		err = nil
	}
	m.end()
	m.set.remove(m)
	if _, out := m.parts(); err == nil && out != nil {
		out.close()
	}
	return err
}

func (m *madeBox) Watch(ctx context.Context, changed func(sandbox.State)) {
	states, stop := m.instance.Subscribe()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case state, ok := <-states:
			if !ok {
				return
			}
			changed(state)
			if state.Phase == sandbox.PhaseGone {
				return
			}
		}
	}
}

func (m *madeBox) Dial(ctx context.Context) (net.Conn, error) { return m.instance.Dial(ctx, m.port) }

func (m *madeBox) Usage(context.Context) (sandbox.Usage, error) { return m.instance.Usage() }

// lookAfter replaces the files of volumes when what they are made of changes or runs out.
func (m *madeBox) lookAfter(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if _, out := m.parts(); out != nil && !out.refresh.IsZero() {
			timer.Reset(max(time.Until(out.refresh), time.Second))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-m.instance.Done():
			return
		case <-m.again:
		case <-timer.C:
		}
		if err := m.refresh(ctx); err != nil && ctx.Err() == nil {
			m.set.c.log.Warn("files of an instance stay as they were", "instance", m.instance.Labels()[labelPod], "err", err)
		}
	}
}

func (m *madeBox) refresh(ctx context.Context) error {
	t, out := m.parts()
	if t == nil || out == nil {
		return nil
	}
	result, err := t.volumes(ctx)
	m.mu.Lock()
	if err != nil {
		out.refresh = time.Now().Add(10 * time.Second)
	} else {
		out.refresh = result.refresh
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	files := result.files()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := m.instance.SetFiles(ctx, name, files[name])
		if name == apiVolume && errors.Is(err, sandbox.ErrNotFound) {
			continue // made when instances got none, or its account wanted none
		}
		if err != nil {
			return fmt.Errorf("volume %q: %w", name, err)
		}
	}
	return nil
}
