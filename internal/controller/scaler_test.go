package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/fairlead-dev/fairlead/internal/autoscale"
	"github.com/fairlead-dev/fairlead/internal/gateway"
	"github.com/fairlead-dev/fairlead/internal/quota"
	"github.com/fairlead-dev/fairlead/internal/sandbox"
)

// machine stands at the edge of the machine: it makes boxes that behave as told.
type machine struct {
	mu      sync.Mutex
	create  time.Duration // how long creating takes
	warm    time.Duration // from start to ready
	refuse  error         // of the next creations
	crash   bool          // containers end with exit code 3 instead of becoming ready
	made    int
	boxes   []*fakeBox
	stopped []string
}

func (m *machine) makeBox(ctx context.Context, _ *plan, id identity) (box, error) {
	m.mu.Lock()
	create, refuse := m.create, m.refuse
	m.mu.Unlock()
	select {
	case <-time.After(create):
	case <-ctx.Done():
		return (*fakeBox)(nil), ctx.Err() // nil, but not the nil of the interface
	}
	if refuse != nil {
		return nil, refuse
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made++
	b := &fakeBox{machine: m, name: id.name, changes: make(chan sandbox.State, 16), state: sandbox.State{
		Phase: sandbox.PhaseCreated, Created: time.Now(), Containers: []sandbox.ContainerStatus{{Name: "user-container", Phase: sandbox.ContainerWaiting}},
	}}
	b.changes <- b.state
	m.boxes = append(m.boxes, b)
	return b, nil
}

// fakeBox is a box without a program.
type fakeBox struct {
	machine *machine
	name    string
	changes chan sandbox.State
	state   sandbox.State
	frozen  bool
}

func (b *fakeBox) set(change func(*sandbox.State)) {
	b.machine.mu.Lock()
	defer b.machine.mu.Unlock()
	b.state.Containers = slices.Clone(b.state.Containers)
	change(&b.state)
	b.changes <- b.state
}

func (b *fakeBox) Start(context.Context) error {
	b.set(func(s *sandbox.State) {
		s.Phase, s.Started = sandbox.PhaseRunning, time.Now()
		s.Containers[0].Phase = sandbox.ContainerRunning
	})
	b.machine.mu.Lock()
	warm, crash := b.machine.warm, b.machine.crash
	b.machine.mu.Unlock()
	time.AfterFunc(warm, func() {
		b.set(func(s *sandbox.State) {
			if crash {
				s.Containers[0].Restarts++
				s.Containers[0].Last = &sandbox.Exit{Code: 3, Reason: sandbox.ReasonError, Message: "bad flag", Ended: time.Now()}
				return
			}
			s.Ready, s.ReadyAt, s.Containers[0].Ready = true, time.Now(), true
		})
	})
	return nil
}

func (b *fakeBox) Stop(context.Context, time.Duration) error {
	b.machine.mu.Lock()
	defer b.machine.mu.Unlock()
	b.machine.stopped = append(b.machine.stopped, b.name)
	return nil
}

func (b *fakeBox) Freeze(context.Context) error {
	b.set(func(s *sandbox.State) { s.Phase, s.Ready = sandbox.PhaseFrozen, false })
	return nil
}

func (b *fakeBox) Thaw(context.Context) error {
	b.set(func(s *sandbox.State) { s.Phase, s.Ready = sandbox.PhaseRunning, true })
	return nil
}

func (b *fakeBox) Watch(ctx context.Context, changed func(sandbox.State)) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-b.changes:
			changed(s)
		}
	}
}

func (b *fakeBox) Dial(context.Context) (net.Conn, error) { return nil, errors.New("no network") }
func (b *fakeBox) Usage(context.Context) (sandbox.Usage, error) {
	return sandbox.Usage{Time: time.Now()}, nil
}
func (b *fakeBox) Tail(string, time.Time, time.Time) string { return "tail" }

// load is the gateway's side: what a scaler is told and what it said.
type load struct {
	mu        sync.Mutex
	waiting   int
	inFlight  int
	instances []string
	failed    []string
	drains    []string
}

func (l *load) SetInstances(_ string, list []gateway.Instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.instances = nil
	for _, i := range list {
		l.instances = append(l.instances, i.ID)
	}
	if len(list) > 0 {
		l.inFlight += l.waiting
		l.waiting = 0
	}
}

func (l *load) SetFailed(_, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, reason)
	l.waiting = 0
}

func (l *load) Drain(_ context.Context, _, instance string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drains = append(l.drains, instance)
	return nil
}

func (l *load) Sample(string) gateway.Sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	return gateway.Sample{Period: time.Second, Concurrency: float64(l.inFlight + l.waiting), InFlight: l.inFlight + l.waiting, Waiting: l.waiting}
}

func (l *load) Stats(string) gateway.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return gateway.Stats{InFlight: l.inFlight, Waiting: l.waiting}
}

func (l *load) put(waiting, inFlight int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting, l.inFlight = waiting, inFlight
}

func (l *load) routed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.instances)
}

// told counts the failures that were told to waiting requests, drained the instances that were drained.
func (l *load) told() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.failed)
}

func (l *load) drained() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.drains)
}

// bench is a scaler under test.
type bench struct {
	*scaler
	t        *testing.T
	machine  *machine
	load     *load
	reported atomic.Int32
	stop     context.CancelFunc
}

func newBench(t *testing.T, annotations map[string]string, change func(*plan)) *bench {
	t.Helper()
	b := idleBench(t, annotations, change)
	b.begin()
	return b
}

// idleBench is a bench whose scaler has not begun yet.
func idleBench(t *testing.T, annotations map[string]string, change func(*plan)) *bench {
	t.Helper()
	b := &bench{t: t, machine: &machine{create: 30 * time.Millisecond, warm: 20 * time.Millisecond}, load: &load{}}
	b.scaler = &scaler{
		key: key{Namespace: "default", Name: "hello-00001"}, backend: "default/hello-00001",
		kick: make(chan struct{}, 1), woken: make(chan struct{}, 1), events: make(chan event, 64), ended: make(chan struct{}),
		router: b.load, maker: b.machine, capacity: newCapacity(demand{cpuMillis: 2000, memoryBytes: 1 << 30}), quotas: quota.New(),
		changed: func(key, time.Duration) {}, quit: func() {}, report: func(*plan, report) { b.reported.Add(1) },
		log: slog.New(slog.DiscardHandler), now: time.Now,
	}
	p := testPlan(t, annotations)
	if change != nil {
		change(p)
	}
	b.setPlan(p)
	return b
}

func (b *bench) begin() {
	ctx, cancel := context.WithCancel(b.t.Context())
	b.stop = cancel
	go b.run(ctx)
}

func testPlan(t *testing.T, annotations map[string]string) *plan {
	t.Helper()
	s, err := defaultSettings("localhost")
	if err != nil {
		t.Fatal(err)
	}
	rev := &v1.Revision{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hello-00001", UID: "u1", Annotations: annotations},
		Spec:       v1.RevisionSpec{PodSpec: corev1.PodSpec{Containers: []corev1.Container{{Name: "user-container", Image: "hello"}}}},
	}
	return &plan{
		revision: rev, deployment: makeDeployment(rev, s), version: "1", deadline: time.Minute, spare: true,
		spec: autoscale.Resolve(annotations, 0, true, s.autoscaler),
	}
}

// end stops the scaler and everything in the bubble.
func (b *bench) end() {
	b.stop()
	<-b.ended
}

func (b *bench) state() *scaleState {
	b.t.Helper()
	synctest.Wait()
	s := b.seen.Load()
	if s == nil {
		b.t.Fatal("the scaler has told nothing yet")
	}
	return s
}

func (b *bench) expect(want, ready int32, routed int) {
	b.t.Helper()
	s := b.state()
	if s.want != want || s.ready != ready || b.load.routed() != routed {
		b.t.Fatalf("want %d, ready %d, routed %d; expected %d, %d, %d", s.want, s.ready, b.load.routed(), want, ready, routed)
	}
	b.checkInvariants()
}

// checkInvariants re-checks what must hold between any two steps.
func (b *bench) checkInvariants() {
	b.t.Helper()
	b.capacity.mu.Lock()
	defer b.capacity.mu.Unlock()
	if b.capacity.used.cpuMillis < 0 || b.capacity.used.memoryBytes < 0 || b.capacity.used.memoryBytes > b.capacity.total.memoryBytes {
		b.t.Fatalf("capacity used: %+v of %+v", b.capacity.used, b.capacity.total)
	}
}

func TestScalerProvesARevisionAndGoesToZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, nil)
		defer b.end()
		time.Sleep(10 * time.Millisecond)
		b.expect(1, 0, 0)
		if b.state().initialized {
			t.Error("initialized before anything was ready")
		}
		time.Sleep(100 * time.Millisecond)
		b.expect(1, 1, 1)
		if !b.state().initialized {
			t.Error("ready, and not initialized")
		}
		time.Sleep(50 * time.Second)
		b.expect(1, 1, 1) // a stable window from its start
		time.Sleep(20 * time.Second)
		b.expect(0, 0, 0)
		if b.machine.made != 2 || len(b.machine.stopped) != 1 {
			t.Errorf("made %d and stopped %d instances, want 2 (one is the spare) and 1", b.machine.made, len(b.machine.stopped))
		}
		if n := len(b.state().pods); n != 0 {
			t.Errorf("%d pods are shown at zero: a spare is not one", n)
		}
	})
}

func TestScalerWakesTheSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, nil)
		defer b.end()
		time.Sleep(75 * time.Second)
		b.expect(0, 0, 0)
		b.load.put(1, 0)
		asked := time.Now()
		b.wake()
		for b.load.routed() == 0 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if d := time.Since(asked); d > 22*time.Millisecond {
			t.Errorf("woken after %v, the program alone takes 20 ms", d)
		}
		b.load.put(0, 0)
		time.Sleep(75 * time.Second)
		b.expect(0, 0, 0)
	})
}

func TestScalerFollowsABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, map[string]string{"autoscaling.knative.dev/target": "10", "autoscaling.knative.dev/max-scale": "5"}, nil)
		defer b.end()
		time.Sleep(75 * time.Second)
		b.load.put(100, 0)
		b.wake()
		time.Sleep(time.Second)
		b.expect(5, 5, 5)
		b.load.put(0, 0)
		time.Sleep(3 * time.Minute)
		b.expect(0, 0, 0)
		if b.load.drained() == 0 {
			t.Error("instances were stopped without waiting for their requests")
		}
	})
}

func TestScalerKeepsTheMinimum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, map[string]string{"autoscaling.knative.dev/minScale": "2"}, nil)
		defer b.end()
		time.Sleep(10 * time.Minute)
		b.expect(2, 2, 2)
		b.send(event{kind: eventPodGone, pod: b.state().pods[0].name})
		time.Sleep(time.Second)
		b.expect(2, 2, 2)
		if b.machine.made != 3 || len(b.machine.stopped) != 1 {
			t.Errorf("made %d, stopped %d after a pod was deleted; want 3 and 1", b.machine.made, len(b.machine.stopped))
		}
	})
}

func TestScalerTellsOfACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, nil)
		defer b.end()
		b.machine.mu.Lock()
		b.machine.crash = true
		b.machine.mu.Unlock()
		time.Sleep(time.Second)
		s := b.state()
		if s.failure == nil || s.failure.code != 3 || s.failure.message != "bad flag" {
			t.Fatalf("failure %+v, want exit code 3: bad flag", s.failure)
		}
		synctest.Wait() // the scaler may be at work in the same instant
		if b.load.told() == 0 {
			t.Error("requests that wait were not told")
		}
		time.Sleep(2 * time.Minute)
		if s := b.state(); !s.exceeded || s.want != 0 || s.initialized {
			t.Errorf("after the deadline: %+v", s)
		}
	})
}

func TestScalerTellsWhatCannotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idleBench(t, nil, nil)
		b.machine.refuse = errors.New(`secret "s" not found`)
		b.begin()
		defer b.end()
		time.Sleep(5 * time.Second)
		if s := b.state(); s.waiting != `secret "s" not found` || s.ready != 0 {
			t.Fatalf("%+v", s)
		}
		if n := b.reported.Load(); n != 1 {
			t.Errorf("%d reports of one trouble", n)
		}
		b.machine.mu.Lock()
		b.machine.refuse = nil
		b.machine.mu.Unlock()
		time.Sleep(20 * time.Second)
		b.expect(1, 1, 1)
	})
}

func TestScalerTellsWhatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := idleBench(t, nil, nil)
		b.machine.refuse = fmt.Errorf("gVisor: %w: install it", sandbox.ErrRuntimeMissing)
		b.begin()
		defer b.end()
		time.Sleep(time.Second)
		if s := b.state(); !s.refused || s.exceeded || s.waiting == "" {
			t.Fatalf("%+v", s)
		}
		b.machine.mu.Lock()
		b.machine.refuse = errors.New("no space left")
		b.machine.mu.Unlock()
		time.Sleep(20 * time.Second)
		if s := b.state(); s.refused || s.waiting == "" {
			t.Fatalf("what may pass is said to be refused: %+v", s)
		}
	})
}

func TestScalerWaitsForCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big := func(p *plan) {
			p.needs = demand{memoryBytes: resource.NewQuantity(1<<30, resource.BinarySI).Value()}
		}
		b := newBench(t, map[string]string{"autoscaling.knative.dev/min-scale": "2"}, big)
		defer b.end()
		time.Sleep(time.Second)
		s := b.state()
		if s.ready != 1 || s.missing != "0/1 nodes are available: 1 Insufficient memory." {
			t.Fatalf("%+v", s)
		}
		waits := s.pending
		if waits == nil || waits.unschedulable != s.missing || len(s.pods) != 1 || s.pods[0].name == waits.name {
			t.Fatalf("the instance that waits is not told: %+v", s)
		}
		time.Sleep(time.Minute)
		if now := b.state().pending; now == nil || now.identity != waits.identity || !now.created.Equal(waits.created) {
			t.Errorf("after a minute another waits: %+v, not %+v", now, waits)
		}
		b.send(event{kind: eventPodGone, pod: waits.name})
		time.Sleep(time.Second)
		if now := b.state().pending; now == nil || now.identity == waits.identity {
			t.Errorf("its pod was deleted, and it waits still: %+v", now)
		}
		waits = b.state().pending
		b.scaler.capacity.release(demand{memoryBytes: 1 << 30})
		time.Sleep(time.Second)
		if s = b.state(); s.ready != 2 || s.pending != nil || s.missing != "" || s.pods[0].name != waits.name && s.pods[1].name != waits.name {
			t.Errorf("with room, who waited does not run: %+v", s)
		}
	})
}

// TestScalerShowsTheInstanceThatIsMadeAfterWaiting holds that a pod which was shown pending stays shown while its instance is made.
func TestScalerShowsTheInstanceThatIsMadeAfterWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, map[string]string{"autoscaling.knative.dev/min-scale": "2"}, func(p *plan) { p.needs = demand{memoryBytes: 1 << 30} })
		defer b.end()
		time.Sleep(time.Second)
		waits := b.state().pending
		b.machine.mu.Lock()
		b.machine.create = 10 * time.Second
		b.machine.mu.Unlock()
		b.scaler.capacity.release(demand{memoryBytes: 1 << 30})
		time.Sleep(time.Second)
		s := b.state()
		if waits == nil || s.pending != nil || len(s.pods) != 2 {
			t.Fatalf("while it is made: %+v", s)
		}
		time.Sleep(20 * time.Second)
		b.expect(2, 2, 2)
	})
}

func TestScalerFreezes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, func(p *plan) { p.freeze = true })
		defer b.end()
		time.Sleep(75 * time.Second)
		b.expect(0, 0, 0)
		if len(b.machine.stopped) != 0 || b.machine.made != 1 {
			t.Fatalf("stopped %v, made %d; want the one instance frozen", b.machine.stopped, b.machine.made)
		}
		b.load.put(1, 0)
		b.wake()
		time.Sleep(time.Millisecond)
		b.expect(1, 1, 1)
	})
}

// TestScalerAdopts holds that instances of an earlier daemon are followed, take their part of the machine, and give it back; what is frozen has none.
func TestScalerAdopts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		needs := demand{cpuMillis: 300, memoryBytes: 1 << 20}
		b := idleBench(t, map[string]string{"autoscaling.knative.dev/min-scale": "2"}, func(p *plan) { p.needs, p.initialized = needs, true })
		for _, phase := range []sandbox.Phase{sandbox.PhaseRunning, sandbox.PhaseRunning, sandbox.PhaseFrozen, sandbox.PhaseCreated} {
			id := newIdentity(b.planned.Load())
			made, err := b.machine.makeBox(t.Context(), nil, id)
			if err != nil {
				t.Fatal(err)
			}
			box := b.machine.boxes[len(b.machine.boxes)-1]
			box.set(func(s *sandbox.State) { s.Phase, s.Ready = phase, phase == sandbox.PhaseRunning })
			b.scaler.adopt(id, made, box.state, "1")
		}
		b.begin()
		synctest.Wait()
		if used := b.capacity.used; used != (demand{cpuMillis: 600, memoryBytes: 2 << 20}) {
			t.Errorf("two adopted instances take %+v", used)
		}
		b.expect(2, 2, 2)
		b.machine.boxes[0].set(func(s *sandbox.State) { s.Ready = false })
		b.expect(2, 1, 1)
		b.machine.boxes[1].set(func(s *sandbox.State) { s.Phase, s.Ready = sandbox.PhaseGone, false })
		synctest.Wait()
		b.expect(2, 1, 1) // the frozen one in its place
		if slices.ContainsFunc(b.state().pods, func(p podState) bool { return p.name == b.machine.boxes[1].name }) {
			t.Error("an adopted instance that is gone is still shown")
		}
		b.retire()
		<-b.ended
		if used := b.capacity.used; used != (demand{}) {
			t.Errorf("capacity was not given back: %+v", used)
		}
		b.stop()
	})
}

func TestScalerStopsWhileMaking(t *testing.T) {
	for _, after := range []time.Duration{0, 10 * time.Millisecond, 35 * time.Millisecond} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil, nil)
				time.Sleep(after)
				b.retire()
				<-b.ended
				if len(b.machine.stopped) != b.machine.made {
					t.Errorf("made %d, stopped %d", b.machine.made, len(b.machine.stopped))
				}
				b.stop()
			})
		})
	}
}
