// Package gateway finds an instance for every request.
//
// A request is matched by host, path and headers against the [Table] in force, a weighted split names a backend (the key of a
// revision, opaque here), a slot on one of the backend's instances is taken, the request is copied there and the answer back, the
// slot is given up. A backend without a free slot makes its requests wait in a bounded room, first come first served; the
// first to wait with no instance there makes the gateway call Config.Wake, and [Gateway.SetInstances] lets the room go in order.
//
// What it promises:
//
//   - Containment of concurrency: an instance never sees more requests at once than its backend's Concurrency.
//   - No request is lost because the table, the instances or the certificates change: a change is one pointer swap, an
//     instance that was taken out finishes what it has.
//   - A request is sent a second time only when no connection could be made, or when a connection that had been idle turned out to be
//     closed and the request may be repeated (GET, HEAD, OPTIONS, TRACE, or one with an Idempotency-Key; without a body).
//   - No store, no API object and no other process is on the way of a request.
//
// The gateway knows nothing of Knative kinds: the controller translates. Apply, SetInstances, SetFailed, Drain, Sample, Stats and
// ServeInternal may be called at any time from any goroutine, also before Run.
//
// A thin use:
//
//	g, err := gateway.New(gateway.Config{HTTP: []string{"127.0.0.1:8080"}, Wake: scaler.Wake})
//	err = g.Apply(gateway.Table{
//		Routes: []gateway.Route{{
//			Name:  "default/hello",
//			Hosts: []string{"hello.default.localhost"},
//			Rules: []gateway.Rule{{Splits: []gateway.Split{{Backend: "default/hello-00001", Weight: 100}}}},
//		}},
//		Backends: []gateway.Backend{{Name: "default/hello-00001", Timeout: 300 * time.Second}},
//	})
//	g.SetInstances("default/hello-00001", []gateway.Instance{{ID: "a", Dial: dialA}})
//	err = g.Run(ctx, ready)
package gateway
