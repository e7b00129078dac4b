package controller

import (
	"encoding/hex"
	"log/slog"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/networking/pkg/ingress"
)

// TestHashesFollowTheSpec holds that a remembered hash is the one Knative computes, for the generation that is asked about, and that
// Ingresses that are gone are forgotten.
func TestHashesFollowTheSpec(t *testing.T) {
	h := newHashes(slog.New(slog.DiscardHandler))
	one := &netv1alpha1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "n", UID: "1", Generation: 1}}
	for _, host := range []string{"a.example.com", "b.example.com"} {
		one = one.DeepCopy()
		one.Generation++
		one.Spec.Rules = []netv1alpha1.IngressRule{{Hosts: []string{host}}}
		want, err := ingress.ComputeHash(one)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // computed, and remembered
			if got := h.of(one); got != hex.EncodeToString(want[:]) {
				t.Errorf("hash with %s is %s, want %x", host, got, want)
			}
		}
	}
	other := one.DeepCopy()
	other.UID = "2"
	h.of(other)
	h.keep([]*netv1alpha1.Ingress{other})
	if _, kept := h.known[types.UID("1")]; kept || len(h.known) != 1 {
		t.Errorf("known after one went: %v", h.known)
	}
}

// TestInForce holds that the short look at an Ingress agrees with what would be written.
func TestInForce(t *testing.T) {
	ing := &netv1alpha1.Ingress{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	ing.Status.InitializeConditions()
	if inForce(ing) {
		t.Error("a new ingress counts as in force")
	}
	ing.Status.MarkNetworkConfigured()
	ing.Status.MarkLoadBalancerReady(gatewayBalancer().Ingress, gatewayBalancer().Ingress)
	if inForce(ing) {
		t.Error("an ingress of an older generation counts as in force")
	}
	ing.Status.ObservedGeneration = 3
	if !inForce(ing) {
		t.Error("an ingress with the status it should have is written again")
	}
	ing.Status.MarkIngressNotReady("HostTaken", "another has it")
	if inForce(ing) {
		t.Error("an ingress whose host was taken counts as in force")
	}
}
