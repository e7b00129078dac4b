//go:build suites

package main

// The suites and the images are built by path and imported by nothing; these imports keep what they need in go.mod.
import (
	_ "knative.dev/serving/test/conformance/api/shared"
	_ "knative.dev/serving/test/e2e"
	_ "knative.dev/serving/test/test_images/grpc-ping/proto"
	_ "knative.dev/serving/test/test_images/runtime/handlers"
)
