// Package lifecycle does what becomes of objects because of other objects: dependents go with their owners (garbage
// collection), a deleted namespace is emptied, a new one gets its default ServiceAccount.
//
// A [Keeper] follows the whole store with one etcd watch and keeps a small index of who owns whom. Because the watch is in
// order, an owner that the index does not have does not exist, so no question needs asking before a dependent is
// deleted. Changes are made through the API, as anybody's would be, with the object's UID and version as precondition.
//
// The index belongs to a mutex; the one watching goroutine changes it, workers read it. Everything stops when Run's
// context ends.
package lifecycle
