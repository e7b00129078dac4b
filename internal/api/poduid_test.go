package api_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestPodUIDIsTheServersToGive holds that only the process itself may say which UID a Pod gets.
func TestPodUIDIsTheServersToGive(t *testing.T) {
	w := begin(t, "", nil)
	inside, err := kubernetes.NewForConfig(w.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	const uid = "11111111-2222-3333-4444-555555555555"
	for name, test := range map[string]struct {
		client kubernetes.Interface
		taken  bool
	}{"inside": {inside, true}, "administrator": {w.client(t), false}} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "p-", Annotations: map[string]string{"fairlead.dev/pod-uid": uid}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/a"}}},
		}
		made, err := test.client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if (made.UID == uid) != test.taken || made.UID == "" || len(made.Annotations) > 0 {
			t.Errorf("%s: UID %s, annotations %v", name, made.UID, made.Annotations)
		}
	}
}
