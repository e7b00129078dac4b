// Package controller makes it so: it reads Knative Serving objects from the API, drives the engines (images, sandboxes, gateway)
// and writes back what came of it.
//
// There is one reconciler per kind (Service, Configuration, Route, Revision, DomainMapping), each behind a queue of names: a
// reconciler takes a name, never an event, looks at what is there now and moves it nearer to what is asked for. One
// reconciler makes the gateway's table of all Ingresses. Statuses are made with Knative's own helpers, so that reasons and
// messages are Knative's.
//
// Every revision has a scaler: one goroutine with a mailbox that alone knows the revision's instances. It is fed by the gateway's
// samples, decides through package autoscale and hands the gateway the instances that are ready. Waking a revision from zero
// touches no API object: [Controller.Wake] posts to the scaler, which starts the spare it keeps. What the scaler does is written
// to the API afterwards (Pods, Deployment, Endpoints and the other views), by a queue of its own.
//
// Wake, Pod, LogDir, PortForward and Caller may be called from any goroutine. The order of locks: that of the scalers before that of
// a box; besides, none is held while another is taken.
//
//	c, err := controller.New(controller.Config{REST: loopback, Images: images, Sandboxes: sandboxes, Gateway: gw})
//	err = c.Run(ctx, ready)
package controller
