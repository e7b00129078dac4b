package protocol

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/fairlead-dev/fairlead/test/realdaemon"
)

// grpcCases are the cases of the gRPC interoperability tests that need no cloud account. They end the test program when they fail.
var grpcCases = map[string]func(context.Context, testpb.TestServiceClient, ...grpc.CallOption){
	"empty_unary":                 interop.DoEmptyUnaryCall,
	"large_unary":                 interop.DoLargeUnaryCall,
	"client_streaming":            interop.DoClientStreaming,
	"server_streaming":            interop.DoServerStreaming,
	"ping_pong":                   interop.DoPingPong,
	"empty_stream":                interop.DoEmptyStream,
	"timeout_on_sleeping_server":  interop.DoTimeoutOnSleepingServer,
	"cancel_after_begin":          interop.DoCancelAfterBegin,
	"cancel_after_first_response": interop.DoCancelAfterFirstResponse,
	"custom_metadata":             interop.DoCustomMetadata,
	"status_code_and_message":     interop.DoStatusCodeAndMessage,
	"special_status_message":      interop.DoSpecialStatusMessage,
}

// TestGRPCInterop runs the 14 cases, each with a service of its own that is at zero, and again with the instance that runs then.
func TestGRPCInterop(t *testing.T) {
	h := serve(t)
	image := build(t, h, "interop")
	names := slices.AppendSeq([]string{"unimplemented_method", "unimplemented_service"}, maps.Keys(grpcCases))
	var services []string
	for _, name := range names {
		services = append(services, service(name))
	}
	deploy(t, h, image, corev1.ContainerPort{Name: "h2c", ContainerPort: 8080}, services...)
	atZero(t, h)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			authority := service(name) + ".default." + h.Info.Domain
			conn, err := grpc.NewClient(h.Info.Gateway, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(authority))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, state := range []string{"from zero", "warm"} {
				t.Run(state, func(t *testing.T) { grpcCase(t, conn, name) })
			}
		})
	}
}

func service(name string) string { return strings.ReplaceAll(name, "_", "-") }

func grpcCase(t *testing.T, conn *grpc.ClientConn, name string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	switch name {
	case "unimplemented_method":
		interop.DoUnimplementedMethod(ctx, conn)
	case "unimplemented_service":
		interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(conn))
	default:
		grpcCases[name](ctx, testpb.NewTestServiceClient(conn))
	}
}

// atZero waits until no instance runs.
func atZero(t *testing.T, h *realdaemon.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		pods, err := h.Kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		return err == nil && len(pods.Items) == 0, err
	})
	if err != nil {
		t.Fatal("the services do not go to zero:", err)
	}
}
