package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
)

// Converter gives an object, as JSON, in another version of its kind.
type Converter func(ctx context.Context, object []byte, to schema.GroupVersion) ([]byte, error)

// convertHere answers conversion webhooks of Services that Config names in this process, without a connection; others are called as they are.
func (c *chain) convertHere(inner webhook.AuthenticationInfoResolverWrapper) webhook.AuthenticationInfoResolverWrapper {
	return func(resolver webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return &conversionResolver{inner(resolver), c.server.cfg.Converters}
	}
}

type conversionResolver struct {
	webhook.AuthenticationInfoResolver
	converters map[types.NamespacedName]Converter
}

// ClientConfigForService leads to the converter where there is one.
func (r *conversionResolver) ClientConfigForService(name, namespace string, port int) (*rest.Config, error) {
	if convert, ok := r.converters[types.NamespacedName{Namespace: namespace, Name: name}]; ok {
		return &rest.Config{Transport: convert}, nil
	}
	return r.AuthenticationInfoResolver.ClientConfigForService(name, namespace, port)
}

// RoundTrip answers a ConversionReview.
func (c Converter) RoundTrip(r *http.Request) (*http.Response, error) {
	defer r.Body.Close() //nolint:errcheck // it is in memory
	var review apiextensionsv1.ConversionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		return nil, fmt.Errorf("api: read a conversion: %w", err)
	}
	if review.Request == nil {
		return nil, fmt.Errorf("api: read a conversion: it has no request")
	}
	review.Response, review.Request = c.answer(r.Context(), review.Request), nil
	body, err := json.Marshal(review)
	if err != nil {
		return nil, fmt.Errorf("api: answer a conversion: %w", err)
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

func (c Converter) answer(ctx context.Context, request *apiextensionsv1.ConversionRequest) *apiextensionsv1.ConversionResponse {
	response := &apiextensionsv1.ConversionResponse{UID: request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	to, err := schema.ParseGroupVersion(request.DesiredAPIVersion)
	for i := 0; err == nil && i < len(request.Objects); i++ {
		var out []byte
		out, err = c(ctx, request.Objects[i].Raw, to)
		response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Raw: out})
	}
	if err != nil {
		response.ConvertedObjects, response.Result = nil, metav1.Status{Status: metav1.StatusFailure, Message: err.Error()}
	}
	return response
}
