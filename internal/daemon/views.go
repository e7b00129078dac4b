package daemon

import (
	"context"
	"sync/atomic"

	"github.com/fairlead-dev/fairlead/internal/api"
	"github.com/fairlead-dev/fairlead/internal/controller"
)

// lateViews asks the controller for views, which is made after the API. Until then, and without one, there is nobody who writes any.
type lateViews struct {
	target atomic.Pointer[controller.Controller]
}

// Show has the controller write what is asked for.
func (l *lateViews) Show(ctx context.Context, q api.ViewQuery) (done func()) {
	c := l.target.Load()
	if c == nil {
		return func() {}
	}
	return c.Show(ctx, controller.ViewQuery{Namespace: q.Namespace, Name: q.Name, Selector: q.Selector})
}
