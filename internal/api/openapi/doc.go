// Package openapi holds the schemas of the Kubernetes types that Fairlead serves, made by openapi-gen from
// k8s.io/api (make gen). It is data: nothing here runs but GetOpenAPIDefinitions.
package openapi
