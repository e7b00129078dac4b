package contract_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
)

var objectPromises = []promise{
	{"a ready Service tells its revision, URL, address, traffic and image digest", holdsStatus},
	{"labels and annotations name Service, Configuration, generation, Route, creator and last modifier", holdsLabels},
	{"a label that is removed from a Service goes from Configuration and Route", holdsLabelRemoval},
	{"a revision can be named, and the same name with another spec is refused", holdsOwnName},
	{"metadata of a Configuration alone makes no new revision, a changed template does", holdsMetadataOnly},
	{"Configuration and Route work without a Service", holdsNoService},
	{"generateName makes names", holdsGenerateName},
	{"a program that ends is told as ExitCode7, RevisionFailed and RevisionMissing", holdsCrashReasons},
	{"an image that is not there is told as ContainerMissing", holdsMissingImage},
	{"a refusal is the webhook's, with the path of the field at its end", holdsRefusals},
	{"a revision is immutable", holdsImmutable},
	{"advice on security is a warning and refuses nothing", holdsWarnings},
	{"scale annotations are checked, the old spelling minScale too", holdsScaleAnnotations},
}

func holdsStatus(t *testing.T, h *house) {
	s := h.ready(t, h.service("told"))
	st := s.Status
	if st.LatestCreatedRevisionName != "told-00001" || st.LatestReadyRevisionName != "told-00001" {
		t.Errorf("revisions %s and %s", st.LatestCreatedRevisionName, st.LatestReadyRevisionName)
	}
	if st.URL.Host != h.host("told") || st.Address.URL.String() != "http://told.default.svc.cluster.local" {
		t.Errorf("URL %s, address %s", st.URL, st.Address.URL)
	}
	if len(st.Traffic) != 1 || st.Traffic[0].RevisionName != "told-00001" || *st.Traffic[0].Percent != 100 || !*st.Traffic[0].LatestRevision {
		t.Errorf("traffic %+v", st.Traffic)
	}
	for _, kind := range []apis.ConditionType{"Ready", "ConfigurationsReady", "RoutesReady"} {
		if c := st.GetCondition(kind); !c.IsTrue() {
			t.Errorf("%s: %+v", kind, c)
		}
	}
	digest := h.revision(t, "told-00001").Status.ContainerStatuses[0].ImageDigest
	if name, _, ok := strings.Cut(digest, "@sha256:"); !ok || !strings.HasPrefix(h.image, name) {
		t.Errorf("image digest %s of %s", digest, h.image)
	}
}

func holdsLabels(t *testing.T, h *house) {
	s := h.ready(t, h.service("labelled"))
	if s.Annotations[serving.CreatorAnnotation] == "" || s.Annotations[serving.UpdaterAnnotation] != s.Annotations[serving.CreatorAnnotation] {
		t.Errorf("annotations %v", s.Annotations)
	}
	r := h.revision(t, "labelled-00001")
	for name, want := range map[string]string{
		serving.ServiceLabelKey: "labelled", serving.ConfigurationLabelKey: "labelled", serving.ConfigurationGenerationLabelKey: "1",
		serving.RoutingStateLabelKey: "active",
	} {
		if r.Labels[name] != want {
			t.Errorf("%s is %q, want %q", name, r.Labels[name], want)
		}
	}
	if routes := r.Annotations[serving.RoutesAnnotationKey]; routes != "labelled" {
		t.Errorf("routes %q", routes)
	}
}

func holdsLabelRemoval(t *testing.T, h *house) {
	s := h.service("relabelled")
	s.Labels, s.Annotations = map[string]string{"team": "blue"}, map[string]string{"example.com/note": "kept"}
	h.ready(t, s)
	expect := func(want string) {
		t.Helper()
		eventually(t, "the label "+want, func(ctx context.Context) error {
			c, err := h.Serving.ServingV1().Configurations("default").Get(ctx, "relabelled", metav1.GetOptions{})
			if err != nil {
				return err
			}
			r, err := h.Serving.ServingV1().Routes("default").Get(ctx, "relabelled", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if c.Labels["team"] != want || r.Labels["team"] != want || c.Annotations["example.com/note"] != "kept" {
				return fmt.Errorf("Configuration %v %v, Route %v", c.Labels, c.Annotations, r.Labels)
			}
			return nil
		})
	}
	expect("blue")
	h.patch(t, "relabelled", `{"metadata":{"labels":{"team":null}}}`)
	expect("")
}

func holdsOwnName(t *testing.T, h *house) {
	named := func(name string) func(*v1.Service) {
		return func(s *v1.Service) { s.Spec.Template.Name = name }
	}
	s := h.ready(t, h.service("chosen", named("chosen-first")))
	if s.Status.LatestReadyRevisionName != "chosen-first" {
		t.Errorf("revision %s", s.Status.LatestReadyRevisionName)
	}
	_, err := h.Serving.ServingV1().Services("default").Patch(t.Context(), "chosen", types.JSONPatchType,
		[]byte(`[{"op":"replace","path":"/spec/template/spec/containers/0/env/0/value","value":"other"}]`), metav1.PatchOptions{})
	if err == nil || !strings.Contains(err.Error(), "spec.template.metadata.name") {
		t.Errorf("another spec under the same name: %v", err)
	}
}

func holdsMetadataOnly(t *testing.T, h *house) {
	configurations := h.Serving.ServingV1().Configurations("default")
	c := &v1.Configuration{ObjectMeta: metav1.ObjectMeta{Name: "alone"}, Spec: h.service("alone").Spec.ConfigurationSpec}
	if _, err := configurations.Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	revision := func(want string) {
		t.Helper()
		eventually(t, want, func(ctx context.Context) error {
			now, err := configurations.Get(ctx, "alone", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if now.Status.ObservedGeneration != now.Generation || !now.IsReady() || now.Status.LatestReadyRevisionName != want {
				return fmt.Errorf("%+v", now.Status)
			}
			return nil
		})
	}
	revision("alone-00001")
	for patch, want := range map[string]string{`{"metadata":{"labels":{"a":"b"},"annotations":{"c":"d"}}}`: "alone-00001"} {
		if _, err := configurations.Patch(t.Context(), "alone", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		revision(want)
	}
	template := `{"spec":{"template":{"metadata":{"annotations":{"example.com/changed":"yes"}}}}}`
	if _, err := configurations.Patch(t.Context(), "alone", types.MergePatchType, []byte(template), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	revision("alone-00002")
}

func holdsNoService(t *testing.T, h *house) {
	c := &v1.Configuration{ObjectMeta: metav1.ObjectMeta{Name: "pair"}, Spec: h.service("pair").Spec.ConfigurationSpec}
	if _, err := h.Serving.ServingV1().Configurations("default").Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := &v1.Route{ObjectMeta: metav1.ObjectMeta{Name: "pair"}}
	r.Spec.Traffic = []v1.TrafficTarget{{ConfigurationName: "pair", Percent: pointer(int64(100))}}
	if _, err := h.Serving.ServingV1().Routes("default").Create(t.Context(), r, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Route is ready", func(ctx context.Context) error {
		now, err := h.Serving.ServingV1().Routes("default").Get(ctx, "pair", metav1.GetOptions{})
		if err == nil && !now.IsReady() {
			err = fmt.Errorf("%+v", now.Status.Conditions)
		}
		return err
	})
	if got := h.ask(t, "pair", "/"); got != "pair" {
		t.Errorf("answered %q", got)
	}
}

func pointer[T any](v T) *T { return &v }

func holdsGenerateName(t *testing.T, h *house) {
	s := h.service("")
	s.GenerateName = "made-"
	made := h.create(t, s)
	if !strings.HasPrefix(made.Name, "made-") || len(made.Name) <= len("made-") {
		t.Fatalf("name %q", made.Name)
	}
	h.settled(t, made)
}

func holdsCrashReasons(t *testing.T, h *house) {
	h.create(t, h.service("crashing", container(func(c *corev1.Container) { c.Args = []string{"exit", "7"} })))
	h.until(t, "crashing", func(s *v1.Service) error {
		configurations, routes := s.Status.GetCondition(v1.ServiceConditionConfigurationsReady), s.Status.GetCondition(v1.ServiceConditionRoutesReady)
		if !configurations.IsFalse() || configurations.Reason != "RevisionFailed" || !strings.Contains(configurations.Message, "leaving with 7") ||
			!routes.IsFalse() || routes.Reason != "RevisionMissing" {
			return fmt.Errorf("%+v and %+v", configurations, routes)
		}
		return nil
	})
	if c := h.revision(t, "crashing-00001").Status.GetCondition(v1.RevisionConditionContainerHealthy); c == nil || c.Reason != "ExitCode7" {
		t.Errorf("%+v, want ExitCode7", c)
	}
}

func holdsMissingImage(t *testing.T, h *house) {
	h.create(t, h.service("imageless", container(func(c *corev1.Container) { c.Image = h.Info.Registry + "/no/such:image" })))
	h.until(t, "imageless", func(s *v1.Service) error {
		if c := s.Status.GetCondition(v1.ServiceConditionConfigurationsReady); !c.IsFalse() || c.Reason != "RevisionFailed" ||
			!strings.Contains(c.Message, "Unable to fetch image") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if c := h.revision(t, "imageless-00001").Status.GetCondition(v1.RevisionConditionReady); !c.IsFalse() || c.Reason != v1.ReasonContainerMissing {
		t.Errorf("%+v, want ContainerMissing", c)
	}
}

func holdsRefusals(t *testing.T, h *house) {
	const webhook = `admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: `
	for want, change := range map[string]func(*v1.Service){
		"must not set the field(s): spec.template.spec.containers[0].lifecycle": container(func(c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{} }),
		"must not set the field(s): spec.template.spec.containers[0].stdin":     container(func(c *corev1.Container) { c.Stdin = true }),
		"spec.template.spec.serviceAccountName":                                 func(s *v1.Service) { s.Spec.Template.Spec.ServiceAccountName = "@bad" },
		"more than one container port is set: spec.template.spec.containers[*].ports": container(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 8080}, {ContainerPort: 8081}}
		}),
		"spec.template.spec.containers[0].securityContext.runAsUser": container(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{RunAsUser: pointer(int64(-10))}
		}),
		"must not set the field(s): spec.template.spec.containers[0].ports.hostPort": container(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 80}}
		}),
		"missing field(s): spec.template.spec.containers[0].image": container(func(c *corev1.Container) { c.Image = "" }),
	} {
		_, err := h.Serving.ServingV1().Services("default").Create(t.Context(), h.service("refused", change), metav1.CreateOptions{})
		said, _, _ := strings.Cut(fmt.Sprint(err), "\n") // what follows explains the value
		if !strings.Contains(said, webhook) || !strings.HasSuffix(said, want) {
			t.Errorf("got %v, want %s...%s", err, webhook, want)
		}
	}
}

func holdsImmutable(t *testing.T, h *house) {
	h.ready(t, h.service("fixed"))
	r := h.revision(t, "fixed-00001")
	r.Spec.ContainerConcurrency = pointer(int64(5))
	_, err := h.Serving.ServingV1().Revisions("default").Update(t.Context(), r, metav1.UpdateOptions{})
	if err == nil || !strings.Contains(err.Error(), "Immutable fields changed") {
		t.Errorf("a changed revision: %v", err)
	}
}

// warnings collects what the API advises.
type warnings []string

func (w *warnings) HandleWarningHeader(code int, _, text string) {
	*w = append(*w, fmt.Sprint(code, " ", text))
}

func holdsWarnings(t *testing.T, h *house) {
	var got warnings
	config := rest.CopyConfig(h.REST)
	config.WarningHandler = &got
	client, err := servingclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	s := h.service("advised")
	if _, err := client.ServingV1().Services("default").Create(t.Context(), s, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 || !strings.HasPrefix(got[0], "299 ") {
		t.Errorf("warnings %q", got)
	}
}

func holdsScaleAnnotations(t *testing.T, h *house) {
	bad := []string{"min-scale", "max-scale", "initial-scale", "activation-scale", "target", "target-utilization-percentage", "window",
		"target-burst-capacity", "panic-window-percentage", "panic-threshold-percentage", "scale-down-delay", "scale-to-zero-pod-retention-period"}
	for _, name := range bad {
		_, err := h.Serving.ServingV1().Services("default").Create(t.Context(), h.service("misscaled", annotated("autoscaling.knative.dev/"+name, "@")), metav1.CreateOptions{})
		if !apierrors.IsBadRequest(err) {
			t.Errorf("%s=@: %v", name, err)
		}
	}
	h.ready(t, h.service("old-spelling", annotated("autoscaling.knative.dev/minScale", "2")))
	eventually(t, "two instances", func(ctx context.Context) error {
		r, err := h.Serving.ServingV1().Revisions("default").Get(ctx, "old-spelling-00001", metav1.GetOptions{})
		if err == nil && (r.Status.ActualReplicas == nil || *r.Status.ActualReplicas != 2) {
			err = fmt.Errorf("actual replicas %v", r.Status.ActualReplicas)
		}
		return err
	})
}
