package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

func newPortForwardCommand(term *terminal) *cobra.Command {
	var (
		target  clientFlags
		address string
	)
	cmd := &cobra.Command{
		Use:   "port-forward SERVICE|INSTANCE [LOCAL:]PORT...",
		Short: "Reach a port of an instance from this machine",
		Long: "Port-forward listens on this machine and connects each connection with a port of one running instance,\n" +
			"past the gateway, until Ctrl-C. LOCAL is the port here, the same one if left out, any free one if 0.",
		Example: "  fairlead port-forward hello 9090:8080",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return withTry(usagef("%s takes a service or instance and at least one port", cmd.CommandPath()), "fairlead port-forward SERVICE 8080")
			}
			for _, text := range args[1:] {
				if err := checkPortPair(text); err != nil {
					return err
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := target.dial(cmd)
			if err != nil {
				return err
			}
			pod, err := c.instance(cmd.Context(), target.namespace, args[0])
			if err != nil {
				return err
			}
			if err := portsFree(cmd.Context(), address, args[1:]); err != nil {
				return err
			}
			term.note("Forwarding to instance %s; Ctrl-C ends it", pod.Name)
			ended := c.forward(pod, address, args[1:], cmd.Context().Done(), term.out, term.err)
			return endedBy(cmd.Context(), ended)
		},
	}
	target.addTo(cmd.Flags())
	cmd.Flags().StringVar(&address, "address", "127.0.0.1", "address to listen on")
	cmd.ValidArgsFunction = instanceNames(&target)
	return cmd
}

// checkPortPair checks [LOCAL:]PORT.
func checkPortPair(text string) error {
	local, remote, found := strings.Cut(text, ":")
	if !found {
		remote = local
	}
	for which, port := range map[string]string{"local": local, "remote": remote} {
		n, err := strconv.ParseUint(port, 10, 16)
		if port == "" && which == "local" {
			continue
		}
		if err != nil || n == 0 && which == "remote" {
			return withTry(usagef("%q is not [LOCAL:]PORT: %q is not a port", text, port), "9090:8080")
		}
	}
	return nil
}

// portsFree refuses local ports that cannot be listened on. Client-go would go on with those of several that can.
func portsFree(ctx context.Context, address string, pairs []string) error {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, pair := range pairs {
		local, _, _ := strings.Cut(pair, ":")
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, cmp.Or(local, "0")))
		if err != nil {
			return withTry(fmt.Errorf("forward %s: %w", pair, err), "another port, or any free one: 0:%s", pair[strings.Index(pair, ":")+1:])
		}
		listeners = append(listeners, l)
	}
	return nil
}

// forward connects local ports with those of an instance until stop is closed or the connection breaks.
func (c *client) forward(pod *corev1.Pod, address string, ports []string, stop <-chan struct{}, out, errOut io.Writer) error {
	u := c.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return fmt.Errorf("forward ports of instance %s: %w", pod.Name, err)
	}
	old := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	modern, err := portforward.NewSPDYOverWebsocketDialer(u, c.config)
	if err != nil {
		return fmt.Errorf("forward ports of instance %s: %w", pod.Name, err)
	}
	dialer := portforward.NewFallbackDialer(modern, old, httpstream.IsUpgradeFailure)
	forwarder, err := portforward.NewOnAddresses(dialer, []string{address}, ports, stop, make(chan struct{}), out, errOut)
	if err != nil {
		return fmt.Errorf("forward ports of instance %s: %w", pod.Name, err)
	}
	err = forwarder.ForwardPorts()
	if errors.Is(err, portforward.ErrLostConnectionToPod) {
		return withTry(fmt.Errorf("instance %s is gone", pod.Name), "the same command again")
	}
	if err != nil {
		return fmt.Errorf("forward ports of instance %s: %w", pod.Name, err)
	}
	return nil
}
