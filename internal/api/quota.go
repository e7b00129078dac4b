package api

import (
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// tell turns the store's refusal for want of space into one that says what to do.
func tell(err error) error {
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		return err
	}
	status := apierrors.NewInternalError(err)
	status.ErrStatus.Code = 507
	status.ErrStatus.Reason = "InsufficientStorage"
	status.ErrStatus.Message = "the store has reached its size limit: delete objects, or raise the limit with --store-quota, and try again in a minute"
	return status
}
