package gateway

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
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
	"unimplemented_method":        func(ctx context.Context, _ testpb.TestServiceClient, _ ...grpc.CallOption) {},
	"unimplemented_service":       func(ctx context.Context, _ testpb.TestServiceClient, _ ...grpc.CallOption) {},
}

func TestGRPCInterop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	testpb.RegisterTestServiceServer(srv, interop.NewTestServer())
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	instance := Instance{ID: "a", Dial: dialTo(l.Addr().String())}

	var g *Gateway
	g, addr := start(t, Config{Wake: func(b string) { go g.SetInstances(b, []Instance{instance}) }})
	if err := g.Apply(simple("grpc.localhost", Backend{Name: "b", Protocol: H2C, Timeout: time.Minute})); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("grpc.localhost"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, state := range []string{"from zero", "warm"} {
		for name, do := range grpcCases {
			t.Run(state+"/"+name, func(t *testing.T) {
				if state == "from zero" {
					g.SetInstances("b", nil)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				switch name {
				case "unimplemented_method":
					interop.DoUnimplementedMethod(ctx, conn)
				case "unimplemented_service":
					interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(conn))
				default:
					do(ctx, testpb.NewTestServiceClient(conn))
				}
			})
		}
	}
}
