// Package object is what the commands about objects of the API share: finding a kind by the names people use for
// it, reading manifests, showing what the server answers, applying, deleting, waiting. It works with every kind the
// server has, also those it learns later, and knows none by itself.
//
// Everything goes through a [Client]. A Client may be used from many goroutines.
package object
