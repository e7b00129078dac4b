package oci

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	uploadBytes  prometheus.Counter
	pullBytes    prometheus.Counter
	freedBytes   prometheus.Counter
	unpackLayers prometheus.Counter
	requests     *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_oci_" + name, Help: help})
	}
	m := &metrics{
		uploadBytes:  counter("upload_bytes_total", "Bytes of blobs taken in through the registry."),
		pullBytes:    counter("pull_bytes_total", "Bytes of blobs fetched from other registries."),
		freedBytes:   counter("freed_bytes_total", "Bytes that collection removed from disk."),
		unpackLayers: counter("unpacked_layers_total", "Layers unpacked to disk."),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_oci_requests_total", Help: "Registry requests by class of the status code.",
		}, []string{"class"}),
	}
	if r != nil {
		r.MustRegister(m.uploadBytes, m.pullBytes, m.freedBytes, m.unpackLayers, m.requests)
	}
	return m
}
