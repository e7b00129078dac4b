package controller

import (
	"encoding/hex"
	"log/slog"

	"k8s.io/apimachinery/pkg/types"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/networking/pkg/ingress"
)

// hashes remembers the hash of each Ingress, which costs more to compute than all else of its routes. Only the table's queue uses it.
type hashes struct {
	log   *slog.Logger
	known map[types.UID]hashed
}

type hashed struct {
	generation int64
	hash       string
}

func newHashes(log *slog.Logger) *hashes { return &hashes{log: log, known: map[types.UID]hashed{}} }

// of gives Knative's hash of an Ingress, in hexadecimal digits. Specs change only together with the generation.
func (h *hashes) of(ing *netv1alpha1.Ingress) string {
	if one, ok := h.known[ing.UID]; ok && one.generation == ing.Generation {
		return one.hash
	}
	sum, err := ingress.ComputeHash(ing)
	if err != nil {
		h.log.Warn("hash of an ingress", "ingress", ing.Namespace+"/"+ing.Name, "err", err)
	}
	one := hashed{generation: ing.Generation, hash: hex.EncodeToString(sum[:])}
	h.known[ing.UID] = one
	return one.hash
}

// forget drops an Ingress that is gone.
func (h *hashes) forget(ing *netv1alpha1.Ingress) { delete(h.known, ing.UID) }

// keep forgets the Ingresses that are gone.
func (h *hashes) keep(ingresses []*netv1alpha1.Ingress) {
	if len(h.known) <= len(ingresses) {
		return
	}
	present := make(map[types.UID]bool, len(ingresses))
	for _, ing := range ingresses {
		present[ing.UID] = true
	}
	for uid := range h.known {
		if !present[uid] {
			delete(h.known, uid)
		}
	}
}
