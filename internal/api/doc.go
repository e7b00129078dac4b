// Package api is the Kubernetes-style API of Fairlead: k8s.io/apiserver with the apiextensions server behind it, in this
// process, over the etcd of package store.
//
// It serves the core kinds of package kinds and, as custom resource definitions, whatever Config.Definitions and its
// users bring. It answers on a TLS port with a kubeconfig beside it, and on a connection inside the process for the
// daemon's own clients:
//
//	s, err := api.New(api.Config{Dir: dir, Etcd: store.Endpoint(), Listen: "127.0.0.1:6443", Definitions: knative.Definitions()})
//	client, err := kubernetes.NewForConfig(s.Loopback()) // privileged; usable once Run has called ready
//	err = s.Run(ctx, ready)                              // blocks
//
// Promises: ready is called only when every definition of Config is established, served and listed by discovery; a request
// that nothing allows is denied; what was answered is stored. New listens (so that a busy port is an early error) and
// writes the kubeconfig; Run opens the store, so the store must be running by then.
//
// All methods may be called at once from several goroutines.
package api
