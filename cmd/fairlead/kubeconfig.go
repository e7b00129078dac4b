package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

func newKubeconfigCommand(term *terminal) *cobra.Command {
	var (
		flags       clientFlags
		name        string
		print, keep bool
		output      *outputFormat
	)
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Let kubectl and kn talk to this daemon",
		Long: "Kubeconfig writes the cluster, user and context of the daemon into the file kubectl reads, which is the\n" +
			"first of KUBECONFIG that exists or ~/.kube/config, and makes the context the current one. Nothing else in the\n" +
			"file changes.",
		Example: "  fairlead kubeconfig\n  fairlead kubeconfig --print > fairlead.kubeconfig\n  fairlead kubeconfig --keep-context && kubectl --context fairlead get ksvc",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return withTry(usagef("--name is empty"), "--name fairlead")
			}
			own, err := readKubeconfig(flags.kubeconfig(cmd.Flags()), name)
			if err != nil {
				return err
			}
			if output.value == "json" {
				return printKubeconfigJSON(term, own)
			}
			if print || output.value != "" {
				text, err := clientcmd.Write(*own)
				if err != nil {
					return fmt.Errorf("write the kubeconfig: %w", err)
				}
				_, err = term.out.Write(text)
				return err
			}
			return mergeKubeconfig(own, name, keep, term)
		},
	}
	flags.addTo(cmd.Flags())
	cmd.Flags().StringVar(&name, "name", "fairlead", "name of the cluster, user and context")
	cmd.Flags().BoolVar(&print, "print", false, "print the kubeconfig and change no file")
	output = addOutputFlag(cmd, "json", "yaml")
	cmd.Flags().BoolVar(&keep, "keep-context", false, "do not change the current context")
	return cmd
}

// printKubeconfigJSON prints the same as --print, as JSON, which kubectl reads as well.
func printKubeconfigJSON(term *terminal, own *clientcmdapi.Config) error {
	text, err := clientcmd.Write(*own)
	if err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	_, err = fmt.Fprintf(term.out, "%s\n", data)
	return err
}

// readKubeconfig reads the daemon's own kubeconfig and gives its cluster, user and context one name.
func readKubeconfig(path, name string) (*clientcmdapi.Config, error) {
	own, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withTry(fmt.Errorf("%w: %s does not exist", errNoDaemon, path), "fairlead serve")
	}
	if err != nil {
		return nil, kubeconfigError(path, err)
	}
	context := own.Contexts[own.CurrentContext]
	if context == nil || own.Clusters[context.Cluster] == nil || own.AuthInfos[context.AuthInfo] == nil {
		return nil, kubeconfigError(path, errors.New("it names no cluster and user"))
	}
	if err := clientcmd.ResolveLocalPaths(own); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	out := clientcmdapi.NewConfig()
	out.Clusters[name] = own.Clusters[context.Cluster]
	out.AuthInfos[name] = own.AuthInfos[context.AuthInfo]
	out.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: context.Namespace}
	out.CurrentContext = name
	return out, nil
}

// mergeKubeconfig puts the entries of own into the file kubectl reads.
func mergeKubeconfig(own *clientcmdapi.Config, name string, keep bool, term *terminal) error {
	access := clientcmd.NewDefaultPathOptions()
	all, err := access.GetStartingConfig()
	if err != nil {
		return withTry(fmt.Errorf("the kubeconfig of kubectl: %w", err), "mend that file, or another: KUBECONFIG=FILE fairlead kubeconfig")
	}
	cluster, user, context := *own.Clusters[name], *own.AuthInfos[name], *own.Contexts[name]
	cluster.LocationOfOrigin, user.LocationOfOrigin = "", "" // Where an entry comes from says which file it is written to.
	if before := all.Clusters[name]; before != nil {
		cluster.LocationOfOrigin = before.LocationOfOrigin
	}
	if before := all.AuthInfos[name]; before != nil {
		user.LocationOfOrigin = before.LocationOfOrigin
	}
	if before := all.Contexts[name]; before != nil {
		context.LocationOfOrigin, context.Namespace = before.LocationOfOrigin, before.Namespace
	}
	all.Clusters[name], all.AuthInfos[name], all.Contexts[name] = &cluster, &user, &context
	if !keep {
		all.CurrentContext = name
	}
	if err := clientcmd.ModifyConfig(access, *all, true); err != nil {
		return fmt.Errorf("write the kubeconfig of kubectl: %w", err)
	}
	if keep {
		term.note("fairlead: %s has a context %q", access.GetDefaultFilename(), name)
		return nil
	}
	term.note("fairlead: %s has a context %q, which is now the current one", access.GetDefaultFilename(), name)
	return nil
}
