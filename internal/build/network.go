package build

import (
	"os"
	"regexp"
)

// networkForms are how npm and pip say that they did not reach where packages come from.
var networkForms = regexp.MustCompile(`EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|ECONNRESET|ERR_SOCKET_TIMEOUT|ENOTCACHED|` +
	`NewConnectionError|ConnectTimeoutError|ReadTimeoutError|Failed to establish a new connection|Connection aborted|Connection reset by peer`)

// networkError is a build that ended because packages could not be fetched.
type networkError struct {
	error
	advice string
}

func (e *networkError) Unwrap() error { return e.error }

// Try says what can be done about it.
func (e *networkError) Try() string { return e.advice }

// explainNetwork adds what to try to the error of a tool that had no network, and leaves others as they are.
func explainNetwork(err error, advice string) error {
	if err == nil || !networkForms.MatchString(err.Error()) {
		return err
	}
	return &networkError{err, advice}
}

// unlessSet gives the variables NAME=VALUE of a map that the user's environment does not have.
func unlessSet(values [][2]string) []string {
	var env []string
	for _, v := range values {
		if _, set := os.LookupEnv(v[0]); !set {
			env = append(env, v[0]+"="+v[1])
		}
	}
	return env
}
