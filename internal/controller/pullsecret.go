package controller

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-dev/fairlead/internal/oci"
)

// registryLogin is one entry of a docker configuration.
type registryLogin struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// dockerCredentials reads a Secret of one of the two docker types.
func dockerCredentials(secret *corev1.Secret) ([]oci.Credential, error) {
	logins := map[string]registryLogin{}
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]registryLogin `json:"auths"`
		}
		if err := json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &file); err != nil {
			return nil, fmt.Errorf("key %s: %w", corev1.DockerConfigJsonKey, err)
		}
		logins = file.Auths
	case corev1.SecretTypeDockercfg:
		if err := json.Unmarshal(secret.Data[corev1.DockerConfigKey], &logins); err != nil {
			return nil, fmt.Errorf("key %s: %w", corev1.DockerConfigKey, err)
		}
	default:
		return nil, fmt.Errorf("its type is %s, not %s", secret.Type, corev1.SecretTypeDockerConfigJson)
	}
	var all []oci.Credential
	for _, registry := range slices.Sorted(maps.Keys(logins)) {
		login := logins[registry]
		if login.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(login.Auth)
			if err != nil {
				return nil, fmt.Errorf("auth of %s: %w", registry, err)
			}
			login.Username, login.Password, _ = strings.Cut(string(plain), ":")
		}
		all = append(all, oci.Credential{Scope: registryScope(registry), Username: login.Username, Password: login.Password, IdentityToken: login.IdentityToken})
	}
	return all, nil
}

// registryScope takes scheme and API version off what docker login wrote.
func registryScope(registry string) string {
	registry = strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://")
	for _, version := range []string{"/v1/", "/v2/", "/v1", "/v2"} {
		registry = strings.TrimSuffix(registry, version)
	}
	return strings.TrimSuffix(registry, "/")
}
