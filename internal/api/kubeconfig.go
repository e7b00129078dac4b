package api

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig makes a configuration with one cluster, one user and one context, all called fairlead.
func kubeconfig(server, token string, ca []byte) *clientcmdapi.Config {
	c := clientcmdapi.NewConfig()
	c.Clusters["fairlead"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	c.AuthInfos["fairlead"] = &clientcmdapi.AuthInfo{Token: token}
	c.Contexts["fairlead"] = &clientcmdapi.Context{Cluster: "fairlead", AuthInfo: "fairlead", Namespace: "default"}
	c.CurrentContext = "fairlead"
	return c
}

func writeKubeconfig(path string, config *clientcmdapi.Config) error {
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("api: encode kubeconfig: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("api: make folder for kubeconfig: %w", err)
	}
	return writeFile(path, data)
}

// publicURL is the address for clients on this machine: a listener on every address is reached at loopback.
func publicURL(addr net.Addr, insecure bool) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		host, port = addr.String(), "443"
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "https"
	if insecure {
		scheme = "http"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
