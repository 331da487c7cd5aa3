package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// errWorse reports that a figure became worse by more than the noise.
var errWorse = errors.New("something became slower or larger")

// compare builds another commit, lets both builds take turns, and prints what has changed.
func compare(ctx context.Context, o options, out io.Writer) (err error) {
	older, remove, err := buildCommit(ctx, o.against)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	l, err := openLab(o, os.Stderr, build{record.Before, older}, build{record.After, o.bin})
	if err != nil {
		return err
	}
	var changes []record.Change
	err = l.runSelected(ctx, func(t *record.Table, _ bool) error {
		changes = append(changes, t.Changes()...)
		_, err := fmt.Fprintf(out, "\n%s\n%s", t.Name, t.Markdown())
		return err
	})
	return errors.Join(err, l.close(), report(out, changes))
}

// report prints the changes, and returns errWorse if one of them is for the worse.
func report(out io.Writer, changes []record.Change) (err error) {
	for _, worse := range []bool{false, true} {
		fmt.Fprintf(out, "\n%s by more than the noise:\n", map[bool]string{false: "Better", true: "Worse"}[worse])
		n := 0
		for _, c := range changes {
			if c.Worse == worse {
				n++
				fmt.Fprintln(out, "  "+c.String())
			}
		}
		if n == 0 {
			fmt.Fprintln(out, "  nothing")
		} else if worse {
			err = errWorse
		}
	}
	return err
}

// buildCommit builds the programs of a commit in a temporary worktree.
func buildCommit(ctx context.Context, commit string) (bin string, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "bench-build-")
	if err != nil {
		return "", nil, err
	}
	tree, bin := filepath.Join(dir, "tree"), filepath.Join(dir, "bin")
	remove = func() error {
		// git reports what it does on standard error
		out, err := exec.Command("git", "worktree", "remove", "--force", tree).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("remove worktree: %w: %s", err, out)
		}
		return errors.Join(err, os.RemoveAll(dir))
	}
	add := exec.CommandContext(ctx, "git", "worktree", "add", "--detach", tree, commit)
	if out, err := add.CombinedOutput(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("check out %s: %w: %s", commit, err, out), os.RemoveAll(dir))
	}
	compile := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "./cmd/...")
	compile.Dir = tree
	if out, err := compile.CombinedOutput(); err != nil {
		return "", nil, errors.Join(fmt.Errorf("build %s: %w: %s", commit, err, tail(string(out))), remove())
	}
	return bin, remove, nil
}
