package controller

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// dockerCredentials reads a Secret of one of the two docker types.
func dockerCredentials(secret *corev1.Secret) ([]oci.Credential, error) {
	key := corev1.DockerConfigJsonKey
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
	case corev1.SecretTypeDockercfg:
		key = corev1.DockerConfigKey
	default:
		return nil, fmt.Errorf("its type is %s, not %s", secret.Type, corev1.SecretTypeDockerConfigJson)
	}
	credentials, err := oci.ParseCredentials(secret.Data[key])
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", key, err)
	}
	return credentials, nil
}
