// Command greeter is a gRPC service, and with "call" a client of it.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/reflection"

	"example.com/greeter/greetv1"
)

//go:generate protoc --go_out=. --go_opt=module=example.com/greeter --go-grpc_out=. --go-grpc_opt=module=example.com/greeter greet.proto

func main() {
	run := serve
	if len(os.Args) > 1 && os.Args[1] == "call" {
		run = func() error { return call(os.Args[2:]) }
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// greeter answers the calls.
type greeter struct {
	greetv1.UnimplementedGreeterServer
}

func (greeter) Greet(_ context.Context, q *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	return &greetv1.GreetResponse{Text: "Hello " + q.GetName() + "!"}, nil
}

func (greeter) Count(q *greetv1.CountRequest, stream greetv1.Greeter_CountServer) error {
	for i := range q.GetTimes() {
		if err := stream.Send(&greetv1.GreetResponse{Text: fmt.Sprintf("Hello %s, number %d", q.GetName(), i+1)}); err != nil {
			return err
		}
	}
	return nil
}

func serve() error {
	listener, err := net.Listen("tcp", ":"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	greetv1.RegisterGreeterServer(server, greeter{})
	reflection.Register(server)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, server.GracefulStop)
	return server.Serve(listener)
}

// call greets once, then three times in a stream.
func call(args []string) error {
	flags := flag.NewFlagSet("call", flag.ExitOnError)
	address := flags.String("gateway", "127.0.0.1:8080", "where the gateway listens")
	host := flags.String("host", "greeter.default.localhost", "host name of the service")
	name := flags.String("name", "World", "who is greeted")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := grpc.NewClient(*address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(*host))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := greetv1.NewGreeterClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	one, err := client.Greet(ctx, &greetv1.GreetRequest{Name: *name})
	if err != nil {
		return err
	}
	fmt.Println(one.GetText())
	stream, err := client.Count(ctx, &greetv1.CountRequest{Name: *name, Times: 3})
	if err != nil {
		return err
	}
	for {
		next, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Println(next.GetText())
	}
}
