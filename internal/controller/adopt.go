package controller

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/oci"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// adopted is an instance that an earlier daemon left running.
type adopted struct {
	identity
	box     *madeBox
	version string
	uid     string // of its revision
}

// adopt hands the instances that are there to the scalers of their revisions and to the plain pods they belong to, and stops
// those whose owner is gone.
func (c *Controller) adopt(ctx context.Context) error {
	for _, instance := range c.conf.Sandboxes.Instances() {
		labels := instance.Labels()
		namespace, revision := labels[labelNamespace], labels[labelRevision]
		if namespace == "" {
			continue // not ours
		}
		m := c.boxes.add(instance, nil, nil)
		if revision == "" {
			c.pods.adopt(ctx, labels, m)
			continue
		}
		if _, err := c.listers.revisions.Revisions(namespace).Get(revision); err != nil {
			c.boxes.discard(ctx, m)
			continue
		}
		backend := backendName(namespace, revision)
		id := identity{name: labels[labelPod], uid: labels[labelPodUID], ip: labels[labelIP]}
		c.scalers.mu.Lock()
		c.scalers.orphans[backend] = append(c.scalers.orphans[backend], adopted{identity: id, box: m, version: labels[labelVersion], uid: labels[labelUID]})
		c.scalers.mu.Unlock()
		c.log.Info("took over a running instance", "revision", backend, "instance", id.name)
	}
	return c.startAdopted(ctx)
}

// startAdopted makes the scalers that have instances before the first request is served.
func (c *Controller) startAdopted(ctx context.Context) error {
	c.scalers.mu.Lock()
	backends := make([]string, 0, len(c.scalers.orphans))
	for backend := range c.scalers.orphans {
		backends = append(backends, backend)
	}
	c.scalers.mu.Unlock()
	for _, backend := range backends {
		k := splitKey(backend)
		rev, err := c.listers.revisions.Revisions(k.Namespace).Get(k.Name)
		if err != nil {
			return fmt.Errorf("revision %s: %w", backend, err)
		}
		p := c.makePlan(rev.DeepCopy())
		c.scalers.hold(ctx, backend, p)
		c.scalers.plan(p)
	}
	return nil
}

// hold takes hold of the root file systems that adopted instances mount, so that they are not collected, and lets their
// files be kept up to date.
func (s *scalerSet) hold(ctx context.Context, backend string, p *plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.orphans[backend] {
		a := &s.orphans[backend][i]
		if a.uid != string(p.revision.UID) {
			continue
		}
		t := s.c.newTranslator(podMeta(p, a.identity), p.deployment.Spec.Template.Spec, a.ip)
		t.serving, t.digests = userPort(p.revision), p.digests
		out := &translated{}
		for _, text := range p.digests {
			if root := s.c.rootOf(ctx, text); root != nil {
				out.roots = append(out.roots, root)
			}
		}
		a.box.complete(t, out)
		notify(a.box.again) // tokens and files may have become old meanwhile
	}
}

// rootOf holds an image's root file system; nil where the image is gone, in which case nothing can be held.
func (c *Controller) rootOf(ctx context.Context, reference string) *oci.RootFS {
	_, text, ok := cutDigest(reference)
	if !ok {
		return nil
	}
	root, err := c.conf.Images.RootFS(ctx, digest.Digest(text))
	if err != nil {
		c.log.Warn("image of a running instance", "image", reference, "err", err)
		return nil
	}
	return root
}

// discard stops an instance that nobody owns.
func (b *boxSet) discard(ctx context.Context, m *madeBox) {
	b.jobs.Go(func() {
		if err := m.Stop(ctx, 0); err != nil {
			b.c.log.Warn("stopping an instance nobody owns", "instance", m.instance.ID(), "err", err)
		}
	})
}

// complete gives an adopted box what a new one is made with.
func (m *madeBox) complete(t *translator, out *translated) {
	m.mu.Lock()
	m.translator, m.out = t, out
	m.mu.Unlock()
	if t != nil {
		m.set.mu.Lock()
		defer m.set.mu.Unlock()
		m.set.refer(m, dataKeys(t.meta.Namespace, &t.pod))
	}
}

// Caller says who an instance is when it calls another service.
func Caller(instance *sandbox.Instance) gateway.Caller { return caller(instance.Labels()) }

// Internal tells the sandbox which host names the gateway serves: fill sandbox.Config.Internal with it.
func Internal(g *gateway.Gateway) func(from *sandbox.Instance, host string) bool {
	return func(from *sandbox.Instance, host string) bool { return g.HasHost(host, Caller(from)) }
}

// Outbound hands the gateway what instances call: fill sandbox.Config.Outbound with it.
func Outbound(g *gateway.Gateway) func(sandbox.Outbound) {
	return func(o sandbox.Outbound) { g.ServeInternal(o.Conn, Caller(o.From)) }
}
