// Package kinds serves the Kubernetes kinds that are part of Fairlead itself, such as Namespace, Pod and Deployment,
// as generic stores over one etcd client.
//
// The Go types of k8s.io/api are used for the wire, for storage and as the internal version at once: [NewScheme]
// registers each under both versions, so that converting is setting a field and protobuf works everywhere.
// What a kind needs beyond that (defaults, checks, selectable fields, columns) is a row of the table in table.go.
package kinds
