package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-dev/fairlead/cmd/fairlead/internal/project"
)

// loadProject reads a file of up and down, and says what such a file looks like where it is none.
func loadProject(ctx context.Context, kind project.Kind, file, namespace string) (*project.Project, error) {
	p, err := project.Load(ctx, kind, file, namespace)
	var told interface{ Try() string }
	if err == nil || errors.As(err, &told) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return p, err
	}
	switch kind {
	case project.Compose:
		return nil, withTry(err, "what https://docs.docker.com/reference/compose-file says of it")
	case project.Procfile:
		return nil, withTry(err, "a process on each line, as web: python app.py")
	default:
		return nil, withTry(err, "a file as kn func writes it")
	}
}

// checkNames says before anything is made which names of a project somebody else has: names are the namespace's, and what is taken over
// would be lost to who made it, and end with this project.
func (u *upper) checkNames(ctx context.Context, p *project.Project) error {
	if u.print {
		return nil
	}
	for i := range p.Workloads {
		name := p.Workloads[i].Name
		service, err := u.session.serving.ServingV1().Services(u.target.namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			err = ours(p, "ksvc", service)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: service %s: %w", p.File, name, err)
		}
		pod, err := u.session.kube.CoreV1().Pods(u.target.namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			err = ours(p, "pod", pod)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: pod %s: %w", p.File, name, err)
		}
	}
	return nil
}

// ours says whether an object, of a resource that commands know by this name, is of this project.
func ours(p *project.Project, resource string, there metav1.Object) error {
	owner := there.GetLabels()[project.LabelProject]
	if owner == p.Name {
		return nil
	}
	whose := "made by somebody else"
	if owner != "" {
		whose = "made by project " + owner
	}
	return withTry(fmt.Errorf("it is there already, %s", whose),
		"--namespace with one for this project, another name, or fairlead delete %s %s first", resource, there.GetName())
}
