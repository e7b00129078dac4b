package api_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// whoami asks for something, to see as whom a client is refused.
func whoami(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	return err
}

// TestTokenSecret holds that a Secret of a service account is filled in, that its token works, and that it ends with the Secret and
// with the account.
func TestTokenSecret(t *testing.T) {
	w := begin(t, "", nil)
	admin := w.client(t)
	create := func(name, account string) (*corev1.Secret, error) {
		return admin.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
			Type:       corev1.SecretTypeServiceAccountToken,
		}, metav1.CreateOptions{})
	}
	if _, err := create("bad", "nobody"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "must name a service account") {
		t.Errorf("without an account: %v", err)
	}
	bot := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "bot"}}
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(t.Context(), bot, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refused := func(err error) bool {
		return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "system:serviceaccount:default:bot")
	}
	for _, ending := range []string{"secret", "account"} {
		secret, err := create("bot-token", "bot")
		if err != nil {
			t.Fatal(err)
		}
		if string(secret.Data["namespace"]) != "default" || len(secret.Data["ca.crt"]) == 0 || secret.Annotations[corev1.ServiceAccountUIDKey] == "" {
			t.Errorf("got data %v, annotations %v", secret.Data, secret.Annotations)
		}
		account := as(t, w, string(secret.Data["token"]))
		if err := whoami(t.Context(), account); !refused(err) {
			t.Fatalf("with the token: %v", err)
		}
		secret.Labels = map[string]string{"a": "b"}
		after, err := admin.CoreV1().Secrets("default").Update(t.Context(), secret, metav1.UpdateOptions{})
		if err != nil || string(after.Data["token"]) != string(secret.Data["token"]) {
			t.Errorf("an update changed the token: %v", err)
		}
		if ending == "secret" {
			err = admin.CoreV1().Secrets("default").Delete(t.Context(), "bot-token", metav1.DeleteOptions{})
		} else {
			err = admin.CoreV1().ServiceAccounts("default").Delete(t.Context(), "bot", metav1.DeleteOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the token ends with its "+ending, func(ctx context.Context) (bool, error) {
			return apierrors.IsUnauthorized(whoami(ctx, account)), nil
		})
		eventually(t, "the secret goes with its "+ending, func(ctx context.Context) (bool, error) {
			_, err := admin.CoreV1().Secrets("default").Get(ctx, "bot-token", metav1.GetOptions{})
			return apierrors.IsNotFound(err), nil
		})
	}
}
