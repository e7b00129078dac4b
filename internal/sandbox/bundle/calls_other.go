//go:build !amd64

package bundle

// callNumbers is not known here: the runtime compiles the list.
const callNumbers = ""
