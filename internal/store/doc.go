// Package store keeps Fairlead's state: an etcd server inside this process, on a unix socket in its folder and on no
// TCP port.
//
// It promises that what was acknowledged is on disk (fsync is never off), that a damaged log, a full disk and a
// reached quota are told as one clear [Fault] instead of the end of the process, and that the folder belongs to
// one process at a time.
//
// A Store is used like every component:
//
//	s, err := store.New(store.Config{Dir: filepath.Join(home, "store")})
//	go s.Run(ctx, func() { /* s.Endpoint() can be dialled */ })
//
// All methods may be called at once from several goroutines; [Store.Endpoint] is valid from New on, and connections
// to it succeed once Run has called ready. [Snapshot] works from another process as well, because it only needs the
// socket; [Restore] needs the folder to be unused and never overwrites anything.
package store
