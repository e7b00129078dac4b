// Package quotas keeps the ledger of internal/quota as the store is: every write of a namespaced object passes a wrapper of
// its storage, which asks the ledger before and tells it after. It also writes what is used into the status of the
// ResourceQuotas.
//
// Instances are not charged here: their scalers do that, before there is a Pod to be seen. Events are not counted.
package quotas
