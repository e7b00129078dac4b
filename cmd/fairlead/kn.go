package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// newServiceCommand spells what other commands do the way users of kn know it.
func newServiceCommand(term *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "service",
		Aliases: []string{"ksvc", "services"},
		Short:   "Create, update, list, describe or delete services, as kn does",
		Long: "Service does what kn's command of that name does, with the flags that are used most. The other commands do\n" +
			"more: run, deploy, list, traffic.",
		RunE: helpOrUnknown,
	}
	list := newListCommand(term)
	list.Aliases = []string{"ls"}
	cmd.AddCommand(newServiceCreateCommand(term), newServiceUpdateCommand(term), list,
		ofService(newDescribeCommand(term), "describe NAME", "Show everything about a service"),
		ofService(newDeleteCommand(term), "delete NAME...", "Delete services"))
	return cmd
}

// ofService turns a command that takes a type and names into one that takes names of services.
func ofService(cmd *cobra.Command, use, short string) *cobra.Command {
	run := cmd.RunE
	cmd.Use, cmd.Short, cmd.Long, cmd.Example = use, short, "", ""
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 || cmd.Flags().Changed("all") {
			return nil
		}
		return withTry(usagef("%s takes the name of a service", cmd.CommandPath()), "fairlead list")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return run(cmd, append([]string{"services.serving.knative.dev"}, args...))
	}
	return cmd
}

// knFlags are the flags of kn's service create and update: ours, and kn's own words for some.
type knFlags struct {
	serviceFlags
	image              string
	scaleMin, scaleMax string
	noWait             bool
}

func (f *knFlags) addTo(flags *pflag.FlagSet) {
	f.serviceFlags.addTo(flags)
	// The name is an argument here.
	if err := flags.MarkHidden("name"); err != nil {
		panic(err) // The flag was defined in the line above.
	}
	flags.StringVar(&f.image, "image", "", "image to run")
	flags.Int64Var(&f.concurrency, "concurrency-limit", 0, "the same as --concurrency")
	flags.StringVar(&f.scaleMin, "scale-min", "", "least instances")
	flags.StringVar(&f.scaleMax, "scale-max", "", "most instances")
	flags.BoolVar(&f.noWait, "no-wait", false, "return at once, not when the service is ready")
}

// complete brings kn's words into ours.
func (f *knFlags) complete() error {
	if f.scaleMin == "" && f.scaleMax == "" {
		return nil
	}
	if f.scale != "" {
		return usagef("--scale and --scale-min or --scale-max say the same thing twice")
	}
	f.scale = f.scaleMin + ".." + f.scaleMax
	return nil
}

func newServiceCreateCommand(term *terminal) *cobra.Command {
	ch, f := changer{term: term}, knFlags{}
	force := false
	cmd := &cobra.Command{
		Use:     "create NAME --image IMAGE",
		Short:   "Create a service from an image",
		Example: "  fairlead service create hello --image registry.example/hello --env TARGET=you",
		Args:    exactArgs(1),
	}
	ch.addTo(cmd)
	f.addTo(cmd.Flags())
	cmd.Flags().BoolVar(&force, "force", false, "replace a service of that name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.image == "" {
			return withTry(usagef("--image is missing"), "fairlead run . to build and run a folder")
		}
		if err := f.complete(); err != nil {
			return err
		}
		wanted, err := f.service(args[0], ch.target.namespace, f.image)
		if err != nil {
			return err
		}
		c, err := ch.target.dial(cmd)
		if err != nil {
			return err
		}
		services := c.serving.ServingV1().Services(wanted.Namespace)
		made, err := services.Create(cmd.Context(), wanted, metav1.CreateOptions{FieldManager: fieldManager})
		if apierrors.IsAlreadyExists(err) && force {
			made, err = c.change(cmd.Context(), wanted.Namespace, wanted.Name, func(*servingv1.Service) (map[string]any, error) {
				fields, err := manifestFields(wanted)
				if err != nil {
					return nil, err
				}
				spec, _ := fields["spec"].(map[string]any)
				return spec, nil
			})
		}
		if apierrors.IsAlreadyExists(err) {
			return withTry(fmt.Errorf("there is a service %s already", wanted.Name), "fairlead service update %s, or --force", wanted.Name)
		}
		if err != nil {
			return fmt.Errorf("create service %s: %w", wanted.Name, err)
		}
		return ch.show(cmd, c, made, f.noWait)
	}
	return cmd
}

func newServiceUpdateCommand(term *terminal) *cobra.Command {
	ch, f := changer{term: term}, knFlags{}
	cmd := &cobra.Command{
		Use:     "update NAME",
		Short:   "Change what is given of a service",
		Long:    "Update changes what its flags give and leaves the rest. --env NAME- takes a variable away.",
		Example: "  fairlead service update hello --env TARGET=all --scale-max 5",
		Args:    exactArgs(1),
	}
	ch.addTo(cmd)
	f.addTo(cmd.Flags())
	cmd.ValidArgsFunction = serviceNames(&ch.target)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.complete(); err != nil {
			return err
		}
		var without []string
		f.env = slices.DeleteFunc(f.env, func(e string) bool {
			name, isRemoval := strings.CutSuffix(e, "-")
			if isRemoval = isRemoval && variableName.MatchString(name) && !strings.Contains(e, "="); isRemoval {
				without = append(without, name)
			}
			return isRemoval
		})
		wanted, err := f.service(args[0], ch.target.namespace, f.image)
		if err != nil {
			return err
		}
		c, err := ch.target.dial(cmd)
		if err != nil {
			return err
		}
		changed, err := c.change(cmd.Context(), ch.target.namespace, args[0], func(now *servingv1.Service) (map[string]any, error) {
			return updatePatch(now, wanted, without)
		})
		if err != nil {
			return err
		}
		return ch.show(cmd, c, changed, f.noWait)
	}
	return cmd
}

// updatePatch is the merge patch of a service's spec that changes what wanted sets and takes variables away.
func updatePatch(now, wanted *servingv1.Service, without []string) (map[string]any, error) {
	template := wanted.Spec.Template
	containers := slices.Clone(now.Spec.Template.Spec.Containers)
	i := slices.IndexFunc(containers, func(c corev1.Container) bool { return len(c.Ports) > 0 })
	if i = max(i, 0); i >= len(containers) {
		return nil, errors.New("the service has no container")
	}
	from, to := &template.Spec.Containers[0], containers[i].DeepCopy()
	if from.Image != "" {
		to.Image = from.Image
	}
	if from.Ports != nil {
		to.Ports = from.Ports
	}
	for name, quantity := range from.Resources.Limits {
		if to.Resources.Limits == nil {
			to.Resources.Limits = corev1.ResourceList{}
		}
		to.Resources.Limits[name] = quantity
	}
	to.Env = slices.DeleteFunc(to.Env, func(e corev1.EnvVar) bool {
		return slices.Contains(without, e.Name) || slices.ContainsFunc(from.Env, func(n corev1.EnvVar) bool { return n.Name == e.Name })
	})
	to.Env = append(to.Env, from.Env...)
	containers[i] = *to
	spec := map[string]any{"containers": containers}
	if template.Spec.ContainerConcurrency != nil {
		spec["containerConcurrency"] = *template.Spec.ContainerConcurrency
	}
	if template.Spec.RuntimeClassName != nil {
		spec["runtimeClassName"] = *template.Spec.RuntimeClassName
	}
	annotations := map[string]any{}
	for key, value := range template.Annotations {
		annotations[key] = value
		// The old spelling of a bound would win over the new one.
		for _, spellings := range [][]string{autoscaling.MinScaleAnnotation, autoscaling.MaxScaleAnnotation} {
			for _, old := range spellings {
				if slices.Contains(spellings, key) && old != key {
					annotations[old] = nil
				}
			}
		}
	}
	return map[string]any{"template": map[string]any{
		"metadata": map[string]any{"name": nil, "annotations": annotations},
		"spec":     spec,
	}}, nil
}

// show waits for a service and prints its URL.
func (ch *changer) show(cmd *cobra.Command, c *client, service *servingv1.Service, noWait bool) error {
	if noWait {
		ch.wait = 0
	}
	service, err := ch.settle(cmd.Context(), c, service)
	if err != nil {
		return err
	}
	info, err := readInfo(cmd.Context(), c.kube)
	if err != nil {
		return err
	}
	if u := publicURL(service.Status.URL, info.Gateway); u != "" {
		fmt.Fprintln(ch.term.out, u)
	}
	return nil
}
