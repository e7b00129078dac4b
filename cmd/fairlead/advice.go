package main

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/fairlead-dev/fairlead/internal/build"
)

// advice is what a person could try after an error of a command: what the error says itself, else what its kind suggests.
func advice(command string, err error) string {
	var own interface{ Try() string }
	if errors.As(err, &own) && own.Try() != "" {
		return own.Try()
	}
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return command + " --help"
	case errors.Is(err, build.ErrNoBuilder):
		return "the folder with the source; fairlead help build says what is built"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return "a file where a file is meant, and a folder where a folder is"
	case errors.Is(err, syscall.EROFS):
		return "a path that can be written"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "fairlead serve: the daemon has ended; its log says why"
	case disconnected(err):
		return "again, or fairlead serve where the daemon has ended; its log says why"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "--home or --kubeconfig of the daemon that answers there: it is another one than this kubeconfig is of"
	case errors.Is(err, fs.ErrNotExist):
		return "the path of a file that is there"
	case errors.Is(err, fs.ErrPermission):
		return "a path that you may use, or another user"
	case errors.Is(err, syscall.ENOSPC):
		return "fairlead image prune, or more space on the disk"
	case errors.Is(err, context.DeadlineExceeded):
		return "again; fairlead doctor says whether the machine has what is needed"
	}
	switch text := err.Error(); { // told by our registry, in words only
	case strings.Contains(text, "registry cannot be reached"):
		return "a network, or an image that this machine has: fairlead image list"
	case strings.Contains(text, syscall.ENOSPC.Error()):
		return "fairlead image prune, or more space on the disk"
	}
	return apiAdvice(err)
}

// disconnected tells an error that says no more than that a connection ended: the daemon does, or another takes over from it.
func disconnected(err error) bool {
	for _, end := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, end) {
			return true
		}
	}
	return err != nil && utilnet.IsHTTP2ConnectionLost(err)
}

// apiAdvice goes by what the API answered.
func apiAdvice(err error) string {
	switch {
	case apierrors.IsUnauthorized(err):
		return "fairlead kubeconfig: the token of this kubeconfig is not the daemon's"
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot"):
		return "kubectl auth can-i --list: what this user may do"
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return "another value; fairlead explain KIND.FIELD says what a field takes"
	case apierrors.IsNotFound(err) && strings.Contains(err.Error(), "namespaces "):
		return "fairlead get namespaces; kubectl create namespace NAME makes one"
	case apierrors.IsNotFound(err):
		return "fairlead get KIND --all-namespaces: what there is"
	case apierrors.IsAlreadyExists(err):
		return "another name, or fairlead delete first"
	case apierrors.IsConflict(err), apierrors.IsServerTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err):
		return "again"
	}
	return "fairlead doctor, and the daemon's log"
}
