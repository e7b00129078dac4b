package api

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// podLog serves pods/log.
type podLog struct{ podDoor }

var (
	_ rest.GetterWithOptions = (*podLog)(nil)
	_ rest.StorageMetadata   = (*podLog)(nil)
	_ rest.ResourceStreamer  = (*logStream)(nil)
	_ runtime.Object         = (*logStream)(nil)
)

// ProducesMIMETypes says that logs are text.
func (*podLog) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject says that a log is a string.
func (*podLog) ProducesObject(string) any { return "" }

// NewGetOptions are the query parameters.
func (*podLog) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// Get checks what is asked for; the reading happens in the answer.
func (l *podLog) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	asked, ok := options.(*corev1.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("api: log options are a %T", options)
	}
	wanted, err := logOptions(asked, time.Now())
	if err != nil {
		return nil, err
	}
	namespace, c := request.NamespaceValue(ctx), asked.Container
	pod, err := l.pod(ctx, name)
	switch {
	case apierrors.IsNotFound(err): // its log may be there still
	case err != nil:
		return nil, err
	default:
		if c, err = container(pod, c); err != nil {
			return nil, err
		}
	}
	return &logStream{open: func(ctx context.Context) (io.ReadCloser, error) {
		return l.live.Logs(ctx, namespace, name, c, wanted)
	}, follow: wanted.Follow}, nil
}

func logOptions(asked *corev1.PodLogOptions, now time.Time) (LogOptions, error) {
	o := LogOptions{Follow: asked.Follow, Previous: asked.Previous, Timestamps: asked.Timestamps, TailLines: -1, Stdout: true, Stderr: true}
	if asked.TailLines != nil {
		if *asked.TailLines < 0 {
			return o, apierrors.NewBadRequest("tailLines must be greater than or equal to 0")
		}
		o.TailLines = *asked.TailLines
	}
	if asked.LimitBytes != nil {
		if *asked.LimitBytes < 1 {
			return o, apierrors.NewBadRequest("limitBytes must be greater than 0")
		}
		o.LimitBytes = *asked.LimitBytes
	}
	switch {
	case asked.SinceSeconds != nil && asked.SinceTime != nil:
		return o, apierrors.NewBadRequest("at most one of sinceTime or sinceSeconds may be specified")
	case asked.SinceSeconds != nil && *asked.SinceSeconds < 1:
		return o, apierrors.NewBadRequest("sinceSeconds must be greater than 0")
	case asked.SinceSeconds != nil:
		o.Since = now.Add(-time.Duration(*asked.SinceSeconds) * time.Second)
	case asked.SinceTime != nil:
		o.Since = asked.SinceTime.Time
	}
	if asked.Stream != nil {
		o.Stdout = *asked.Stream != corev1.LogStreamStderr
		o.Stderr = *asked.Stream != corev1.LogStreamStdout
	}
	return o, nil
}

// logStream is the answer to a request for a log.
type logStream struct {
	open   func(ctx context.Context) (io.ReadCloser, error)
	follow bool
}

// GetObjectKind is part of every object.
func (*logStream) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject is part of every object; nobody copies this one.
func (s *logStream) DeepCopyObject() runtime.Object { return s }

// InputStream opens the log and says that it should be sent as it comes.
func (s *logStream) InputStream(ctx context.Context, _, _ string) (io.ReadCloser, bool, string, error) {
	r, err := s.open(ctx)
	return r, s.follow, "text/plain", err
}
