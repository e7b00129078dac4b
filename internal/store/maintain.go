package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

const (
	// defragFloorBytes is the size under which the database file is left alone.
	defragFloorBytes = 64 << 20
	// defragIdlePart is the part of the file that must be unused before it is rewritten.
	defragIdlePart = 0.5
	metricsEvery   = 15 * time.Second
)

type metrics struct {
	size, inUse, quota prometheus.Gauge
	compactions        prometheus.Counter
	defrags            prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		size:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_store_size_bytes", Help: "Size of the database file."}),
		inUse:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_store_used_bytes", Help: "Part of the database file that holds data."}),
		quota:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_store_quota_bytes", Help: "Size at which writes are refused."}),
		compactions: prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_store_compactions_total", Help: "Times that old versions were forgotten."}),
		defrags:     prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_store_defragmentations_total", Help: "Times that the database file was rewritten."}),
	}
	if r != nil {
		r.MustRegister(m.size, m.inUse, m.quota, m.compactions, m.defrags)
	}
	return m
}

// maintain forgets old versions, gives space back and lifts the quota alarm, until ctx ends.
func (s *Store) maintain(ctx context.Context, server *etcdserver.EtcdServer) {
	s.metrics.quota.Set(float64(s.cfg.QuotaBytes))
	compact := time.NewTicker(s.cfg.CompactEvery)
	defer compact.Stop()
	measure := time.NewTicker(metricsEvery)
	defer measure.Stop()
	var before int64 // the revision at the last tick: everything older is older than CompactEvery
	for {
		s.metrics.size.Set(float64(server.Backend().Size()))
		s.metrics.inUse.Set(float64(server.Backend().SizeInUse()))
		select {
		case <-ctx.Done():
			return
		case <-measure.C:
			if len(server.Alarms()) > 0 {
				before = s.maintainOnce(ctx, server, server.KV().Rev())
			}
		case <-compact.C:
			before = s.maintainOnce(ctx, server, before)
		}
	}
}

// maintainOnce compacts up to the revision given, defragments where it pays and returns the present revision.
func (s *Store) maintainOnce(ctx context.Context, server *etcdserver.EtcdServer, upTo int64) int64 {
	now := server.KV().Rev()
	if err := s.compact(ctx, server, upTo); err != nil {
		s.log.Warn("store compaction", "err", err)
	}
	if err := s.defragment(ctx, server); err != nil {
		s.log.Warn("store defragmentation", "err", err)
	}
	return now
}

func (s *Store) compact(ctx context.Context, server *etcdserver.EtcdServer, upTo int64) error {
	if upTo <= 0 {
		return nil
	}
	_, err := server.Compact(ctx, &pb.CompactionRequest{Revision: upTo, Physical: true})
	if errors.Is(err, mvcc.ErrCompacted) || ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: compact to revision %d: %w", upTo, err)
	}
	s.metrics.compactions.Inc()
	return nil
}

// defragment rewrites the file when half of it is unused, or when the quota alarm is on, and then lifts the alarm if
// there is room again.
func (s *Store) defragment(ctx context.Context, server *etcdserver.EtcdServer) error {
	backend := server.Backend()
	size, used := backend.Size(), backend.SizeInUse()
	alarms := server.Alarms()
	idle := float64(size-used) > defragIdlePart*float64(size)
	if len(alarms) == 0 && (size < defragFloorBytes || !idle) {
		return nil
	}
	began := time.Now()
	if err := backend.Defrag(); err != nil {
		return fmt.Errorf("store: defragment: %w", err)
	}
	s.metrics.defrags.Inc()
	s.log.Info("store defragmented", "before_bytes", size, "after_bytes", backend.Size(), "took", time.Since(began))
	if backend.Size() >= s.cfg.QuotaBytes*9/10 {
		return nil
	}
	for _, a := range alarms {
		_, err := server.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.MemberID, Alarm: a.Alarm})
		if err != nil {
			return fmt.Errorf("store: lift quota alarm: %w", err)
		}
	}
	return nil
}
