package build

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// buildWithDocker has docker export the image where it can, as its buildx does with most drivers, and else build it in its own store and
// save it, as Debian's docker does.
func buildWithDocker(ctx context.Context, j *job, file, out string) error {
	if answers("docker", "buildx", "version")(ctx) == nil {
		args := []string{"docker", "buildx", "build", "--provenance=false", "--build-arg", "SOURCE_DATE_EPOCH=0",
			"--output", "type=oci,rewrite-timestamp=true,dest=" + out}
		_, err := j.run(ctx, j.Dir, []string{"SOURCE_DATE_EPOCH=0"}, append(append(args, j.commonFlags(file)...), j.Dir)...)
		if err == nil || !noExporter(err) {
			return err
		}
	}
	id := out + ".id"
	args := append([]string{"docker", "build", "--iidfile", id}, j.commonFlags(file)...)
	if _, err := j.run(ctx, j.Dir, []string{"DOCKER_BUILDKIT=1"}, append(args, j.Dir)...); err != nil {
		return err
	}
	data, err := os.ReadFile(id)
	if err != nil {
		return fmt.Errorf("docker names no image: %w", err)
	}
	name := strings.TrimSpace(string(data))
	if _, err := j.run(ctx, j.Dir, nil, "docker", "save", "--output", out, name); err != nil {
		return err
	}
	// What the next build can use stays in the cache of docker's builder. An image that has a name already is the user's.
	if _, err := j.run(ctx, j.Dir, nil, "docker", "image", "rm", name); err != nil {
		j.say("run", "docker keeps the image: %s", firstLine([]byte(err.Error())))
	}
	return nil
}

// noExporter tells whether a driver of docker's buildx has no way to export an OCI archive.
func noExporter(err error) bool {
	return strings.Contains(err.Error(), "OCI exporter is not supported") || strings.Contains(err.Error(), `exporter "oci" could not be found`)
}

// layoutOf makes an OCI layout of an archive: one of a layout, or one of docker save, whose image gets the times that images get here, so
// that the same source gives the same digest.
func layoutOf(archive, dir string) error {
	names, err := archiveNames(archive)
	if err != nil {
		return err
	}
	if slices.Contains(names, "oci-layout") && !slices.Contains(names, "manifest.json") {
		return untarLayout(archive, dir)
	}
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return err
	}
	if image, err = mutate.Time(image, time.Unix(0, 0).UTC()); err != nil {
		return err
	}
	return writeLayout(dir, image)
}
