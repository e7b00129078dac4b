package controller

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-dev/fairlead/internal/quota"
)

// failedCreate is why a ReplicaSet has too few pods.
const failedCreate = "FailedCreate"

// object is how the ledger of quotas knows an instance.
func (s *scaler) object(id identity) quota.Object {
	return quota.Object{Namespace: s.key.Namespace, Resource: schema.GroupResource{Resource: string(corev1.ResourcePods)}, Name: id.name, UID: types.UID(id.uid), Instance: true}
}

// charge counts what the instances that were there before this daemon take of the quotas and of the machine.
func (s *scaler) charge() {
	for _, i := range s.instances {
		if i.phase != phaseSpare {
			s.quotas.Put(s.object(i.identity), s.plan.claim)
		}
		if i.serves() {
			i.reserved = s.plan.needs
			s.capacity.take(i.reserved)
		}
	}
}

// candidate says who the next instance would be: the spare, the one that has waited for the machine or for a quota, or a new one.
func (s *scaler) candidate(spare *instance) (id identity, waited bool) {
	if spare != nil {
		return spare.identity, spare.waited
	}
	id, waited = s.nextIdentity()
	if t := s.turned; !waited && t != nil && t.version == s.plan.version {
		id = t.identity
	}
	return id, waited
}

// admit takes what an instance needs of the namespace's quotas. Where they do not allow it, this scaler is kicked when they may.
func (s *scaler) admit(id identity) bool {
	err := s.quotas.Take(s.object(id), s.plan.claim, s.kick)
	if err == nil {
		s.turned = nil
		return true
	}
	s.denied = err.Error()
	if s.turned == nil {
		s.tell(report{pod: id.name, warning: true, reason: failedCreate, message: "Error creating: " + s.denied})
	}
	s.turned = &waiting{identity: id, version: s.plan.version}
	return false
}

// forgive forgets what a quota has forbidden, before it is asked again. A revision that is given up keeps it: it says why.
func (s *scaler) forgive() {
	if s.exceeded {
		return
	}
	s.denied = ""
	if int(s.want) <= s.count((*instance).serves) {
		s.turned = nil
	}
}

// reconsider lets a revision that was given up for want of quota try again when the quotas allow it.
func (s *scaler) reconsider() {
	if s.denied == "" || !s.exceeded || s.turned == nil {
		return
	}
	err := s.quotas.Check(s.object(s.turned.identity), s.plan.claim, s.kick)
	if err != nil {
		s.denied = err.Error()
		return
	}
	s.exceeded, s.denied, s.turned, s.stuck, s.decided = false, "", nil, time.Time{}, time.Time{}
}

// lateness tells waiting requests why they have waited for nothing.
func (s *scaler) lateness() string {
	if s.denied != "" {
		return "a quota of the namespace allows no further instance"
	}
	reason := "no instance became ready in time"
	if s.elsewhere != nil {
		reason += ": " + s.elsewhere.String()
	}
	return reason
}
