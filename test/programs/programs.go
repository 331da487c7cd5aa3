// Package programs builds our programs for tests that run them.
package programs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Run calls go build with args, in the root of the source, puts the programs into a directory that every
// user may read, and sets the environment variable env to it. Then it calls also, if it is not nil, and run.
// It returns the exit status for TestMain. The directory is removed at the end.
func Run(run func() int, env, root string, also func(dir string) error, args ...string) int {
	status, err := inDirectory(run, env, root, also, args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

func inDirectory(run func() int, env, root string, also func(dir string) error, args []string) (status int, err error) {
	dir, err := os.MkdirTemp("", "programs-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	cmd := exec.Command("go", append([]string{"build", "-o", dir + "/"}, args...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	if also != nil {
		if err := also(dir); err != nil {
			return 1, err
		}
	}
	if err := os.Setenv(env, dir); err != nil {
		return 1, err
	}
	return run(), nil
}
