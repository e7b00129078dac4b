// Package quota is the ledger of ResourceQuotas: what each namespace may take, and what its objects and instances take.
// It is all in memory and reads nothing: whoever charges it says what is charged, so that asking is a map and a lock,
// also on the way of a wake.
//
//	l := quota.New()
//	l.SetQuota(q)                                   // the API read or wrote a ResourceQuota
//	err := l.Take(quota.Object{...}, quota.OfPod(pod, ""), nil) // a Refusal, in the words of Kubernetes, or charged
//	l.Drop(quota.Object{...})                       // given back
//
// Nothing is ever charged twice: charges go by the UID of what takes them. Every method may be called from many
// goroutines, and none blocks.
package quota
