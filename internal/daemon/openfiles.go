package daemon

import (
	"fmt"
	"net"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"github.com/fairlead-dev/fairlead/internal/gateway"
)

const (
	// connectionsFew is below what a machine is told to have too few.
	connectionsFew = 1024
	// filesKept are the open files that connections may not take: the store, which cannot go on without, images, the API, instances.
	filesKept = 4096
	// moreFiles is what to try about it.
	moreFiles = "ulimit -n 65536 before the daemon is started, or LimitNOFILE= of its unit"
)

// connectionsWithin is how many connections of clients a process takes that may open so many files: each request takes one more, to its instance.
func connectionsWithin(files uint64) int {
	kept := min(files/2, filesKept)
	return int(min((files-kept)/2, gateway.DefaultMaxConnections)) //nolint:gosec // small
}

// fileLimit is how many files this process may have open. Go has raised the limit as far as it may.
func fileLimit() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	return limit.Cur, nil
}

// bounded is a listener of which few connections are open at the same time, out of the files that the gateway leaves; more wait to be accepted.
func bounded(listener net.Listener) net.Listener {
	files, err := fileLimit()
	if err != nil {
		files = filesKept
	}
	return netutil.LimitListener(listener, int(min(files/16, connectionsFew))) //nolint:gosec // small
}

// maxConnections is how many connections of clients the gateway takes, given how many files this process may open.
func (s *Settings) maxConnections(files uint64) (int, error) {
	if s.MaxConnections == 0 {
		return connectionsWithin(files), nil
	}
	if need := 2*uint64(s.MaxConnections) + min(files/2, filesKept); need > files { //nolint:gosec // not negative
		return 0, advise(fmt.Errorf("setting max-connections: %d connections need %d open files, this process may have %d", s.MaxConnections, need, files), moreFiles)
	}
	return s.MaxConnections, nil
}

func checkFiles(s *Settings) []Finding {
	files, err := fileLimit()
	if err != nil {
		return []Finding{warning(moreFiles, "%v", err)}
	}
	return []Finding{judgeFiles(s, files)}
}

func judgeFiles(s *Settings, files uint64) Finding {
	n, err := s.maxConnections(files)
	switch {
	case err != nil:
		return problem(moreFiles, "%v", err)
	case n < connectionsFew:
		return warning(moreFiles, "%d open files: the gateway takes only %d connections at the same time", files, n)
	}
	return ok("%d open files: the gateway takes %d connections at the same time", files, n)
}
