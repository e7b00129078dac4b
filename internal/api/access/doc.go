// Package access says who asks and what they may do: RBAC over the roles and bindings that are stored, tokens of service
// accounts, and the reviews by which clients ask for either.
//
// Everything is denied that no rule allows. Roles are read from watches, so a change takes effect when the watch has
// brought it, within milliseconds.
package access
