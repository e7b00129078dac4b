package build

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// PushOptions says how to reach the registry an image is pushed to.
type PushOptions struct {
	// PlainHTTP speaks to it without TLS.
	PlainHTTP bool
	// Token is the registry's token, if it asks for one.
	Token string
	// Transport replaces the default one; nil is fine.
	Transport http.RoundTripper
}

// Push takes a result to a registry under a reference such as "127.0.0.1:5000/hello:latest". Layers that the registry
// has already are not sent.
func Push(ctx context.Context, r Result, reference string, o PushOptions) error {
	var nameOptions []name.Option
	if o.PlainHTTP {
		nameOptions = append(nameOptions, name.Insecure)
	}
	ref, err := name.ParseReference(reference, nameOptions...)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	options := []remote.Option{remote.WithContext(ctx)}
	if o.Token != "" {
		options = append(options, remote.WithAuth(&authn.Basic{Username: "fairlead", Password: o.Token}))
	}
	if o.Transport != nil {
		options = append(options, remote.WithTransport(o.Transport))
	}
	if r.Index != nil {
		err = remote.WriteIndex(ref, r.Index, options...)
	} else {
		err = remote.Write(ref, r.Image, options...)
	}
	if err != nil {
		return fmt.Errorf("push %s: %w", reference, err)
	}
	return nil
}
