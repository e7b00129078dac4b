package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"github.com/fairlead-dev/fairlead/internal/daemon"
)

// clientFlags say which daemon a command talks to.
type clientFlags struct {
	settings  *daemon.Settings
	namespace string
	server    string
}

// addTo defines --home, --kubeconfig and --namespace.
func (c *clientFlags) addTo(flags *pflag.FlagSet) {
	c.settings = daemon.NewSettings()
	flags.StringVar(&c.settings.Home, "home", c.settings.Home, "home folder of the daemon")
	flags.StringVar(&c.server, "kubeconfig", "", "kubeconfig to use (default <home>/kubeconfig)")
	flags.StringVarP(&c.namespace, "namespace", "n", "default", "namespace")
}

// kubeconfig is the file that names the API and the user.
func (c *clientFlags) kubeconfig(flags *pflag.FlagSet) string {
	if c.server != "" {
		return c.server
	}
	return filepath.Join(c.home(flags), "kubeconfig")
}

// home is the home folder of the daemon.
func (c *clientFlags) home(flags *pflag.FlagSet) string {
	if home, ok := daemon.FromEnvironment("home"); ok && !flags.Changed("home") {
		return home
	}
	return c.settings.Home
}

// notSource are folders that may lie in a folder of source and change by themselves: the daemon's home and our cache.
func (c *clientFlags) notSource(flags *pflag.FlagSet) []string {
	return []string{c.home(flags), buildCache()}
}

// resolve fills in the settings of a daemon that a command may start. Of the command's own flags only --home is a
// setting too; others, as the --domain of run, only have the name of one.
func (c *clientFlags) resolve(flags *pflag.FlagSet) error {
	own := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	own.AddFlag(flags.Lookup("home"))
	if err := c.settings.Resolve(own); err != nil {
		return usageError{err}
	}
	return nil
}

// client is a connection to the API.
type client struct {
	config  *rest.Config
	kube    kubernetes.Interface
	serving servingclient.Interface
}

// errNoDaemon says that nothing answers where the kubeconfig points, or that there is no kubeconfig yet.
var errNoDaemon = errors.New("no daemon is running")

// connect opens the API named by a kubeconfig and checks that it answers. The error is errNoDaemon when it does not.
func connect(ctx context.Context, kubeconfig string) (*client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		if _, statErr := os.Stat(kubeconfig); errors.Is(statErr, fs.ErrNotExist) {
			return nil, withTry(fmt.Errorf("%w: %s does not exist", errNoDaemon, kubeconfig), "fairlead serve")
		}
		return nil, kubeconfigError(kubeconfig, err)
	}
	c, err := newClient(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.kube.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		var refused *net.OpError
		if errors.As(err, &refused) {
			return nil, withTry(fmt.Errorf("%w: nothing answers on %s", errNoDaemon, config.Host), "fairlead serve")
		}
		return nil, fmt.Errorf("the API on %s is not ready: %w", config.Host, err)
	}
	return c, nil
}

// kubeconfigError is an error of reading a kubeconfig, whose kind client-go does not pass on.
func kubeconfigError(path string, err error) error {
	file, openErr := os.Open(path)
	if errors.Is(openErr, fs.ErrPermission) {
		return withTry(fmt.Errorf("kubeconfig: %w", openErr), "as the user who runs the daemon, or --kubeconfig with one of your own")
	}
	if openErr == nil {
		file.Close()
	}
	return withTry(fmt.Errorf("kubeconfig %s: %w", path, err), "a kubeconfig: fairlead kubeconfig --print shows the daemon's")
}

func newClient(config *rest.Config) (*client, error) {
	config.QPS, config.Burst = 200, 400
	// Warnings are advice on manifests; a command that takes a manifest from a person sets a handler of its own.
	config.WarningHandler = rest.NoWarnings{}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for the API: %w", err)
	}
	serving, err := servingclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for the API: %w", err)
	}
	return &client{config: config, kube: kube, serving: serving}, nil
}
