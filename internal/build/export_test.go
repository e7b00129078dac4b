package build

import "context"

// DockerToolWorks says why one of the tools for Dockerfiles cannot be used here; nil when it can.
func DockerToolWorks(ctx context.Context, name string) error {
	_, err := findDockerTool(ctx, name)
	return err
}
