// Command compare measures what it takes to see the first answer of the same small web programs with Fairlead, docker,
// docker-compose, podman and podman-compose, all Debian's but the first: what has to be typed and written, the time, and the memory
// that is held then. It writes the table of docs/explanation/compared.md.
//
//	go run ./test/compare -binary bin/fairlead -rounds 3
//
// Everything runs in mount, network and process namespaces of its own, with empty folders in place of /var/lib/docker,
// /var/lib/containers and /run: the machine's own containers are not seen, and nothing is left. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type options struct {
	binary, page, work, only string
	rounds                   int
	rest                     bool
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/fairlead", "the fairlead to measure")
	flag.StringVar(&o.page, "page", "", "page whose table is written anew; empty prints the table only")
	flag.StringVar(&o.work, "work", "", "folder for the base images and what the tools keep (default: below the cache folder)")
	flag.StringVar(&o.only, "only", "", "tools to measure, with commas (default: all)")
	flag.IntVar(&o.rounds, "rounds", 3, "how often everything is done; the table has the medians")
	flag.BoolVar(&o.rest, "rest", true, "wait until Fairlead's program is at zero, and measure again")
	flag.Parse()
	log.SetFlags(0)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, o); err != nil {
		log.Fatalf("compare: %v", err)
	}
}

func run(ctx context.Context, o options) error {
	if os.Geteuid() != 0 {
		return errors.New("namespaces and container engines need root\ntry: sudo make compare")
	}
	if os.Getenv(stageVariable) == stageInit {
		return initStage(ctx)
	}
	if o.work == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		o.work = filepath.Join(cache, "fairlead-compare")
	}
	var err error
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if os.Getenv(stageVariable) != stageMeasure {
		if err := prepare(ctx, o); err != nil {
			return err
		}
		return isolate(ctx, o.work)
	}
	table, err := measureAll(ctx, o)
	if err != nil {
		return err
	}
	fmt.Print(table)
	if o.page == "" {
		return nil
	}
	return rewrite(o.page, table)
}

// prepare makes what needs a network and does not change: the base images.
func prepare(ctx context.Context, o options) error {
	var missing []string
	for _, program := range []string{"docker", "dockerd", "docker-compose", "podman", "podman-compose", "node", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: not installed\ntry: apt-get install --no-install-recommends docker.io docker-compose podman podman-compose aardvark-dns nodejs iproute2 iptables",
			strings.Join(missing, ", "))
	}
	if _, err := os.Stat(filepath.Join(o.work, "images", "redis.tar")); err == nil {
		return nil // of an earlier run
	}
	begun := time.Now()
	cmd := exec.CommandContext(ctx, "test/compare/images", filepath.Join(o.work, "roots"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("base images: %w\n%s", err, out)
	}
	for _, image := range baseImages {
		if err := image.pack(filepath.Join(o.work, "roots"), filepath.Join(o.work, "images")); err != nil {
			return fmt.Errorf("base image %s: %w", image.name, err)
		}
	}
	log.Printf("made the base images in %.0f s", time.Since(begun).Seconds())
	return nil
}
