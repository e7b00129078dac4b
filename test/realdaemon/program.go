package realdaemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Program is a fairlead that the tests of a package share; it is compiled when it is first asked for. The zero value is ready to use.
type Program struct {
	once sync.Once
	dir  string
	err  error
}

// Binary gives the path of the program. The error has what the compiler said.
func (p *Program) Binary() (string, error) {
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "fairlead-test"); p.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", p.path(), "github.com/fairlead-dev/fairlead/cmd/fairlead").CombinedOutput()
		if err != nil {
			p.err = fmt.Errorf("building fairlead: %w\n%s", err, out)
		}
	})
	return p.path(), p.err
}

func (p *Program) path() string { return filepath.Join(p.dir, "fairlead") }

// Run runs the tests of a package, as testing.M does, and removes the program after them.
func (p *Program) Run(m interface{ Run() int }) int {
	code := m.Run()
	if p.dir == "" {
		return code
	}
	if err := os.RemoveAll(p.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}
