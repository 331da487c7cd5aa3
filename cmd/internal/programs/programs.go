// Package programs is backup-programs: all programs in one file, for container images. They
// share most of their code, so one file is smaller than two of them. Links to the file
// carry the names of the programs.
//
// They all include package early of backupd, so none of them ends with SIGHUP.
package programs

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/backupd"
	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/ctlbackups"
	"github.com/cyrusbackup/backupd/cmd/internal/cyrbackup"
	"github.com/cyrusbackup/backupd/cmd/internal/replay"
	"github.com/cyrusbackup/backupd/cmd/internal/restore"
)

type program struct {
	name string
	main func(args []string, stdin io.Reader, stdout, stderr io.Writer) int
}

func all() []program {
	return []program{
		{"backup_replay", replay.Main},
		{"backupd", backupd.Main},
		{"ctl_backups", ctlbackups.Main},
		{"cyr_backup", cyrbackup.Main},
		{"restore", restore.Main},
	}
}

// Main runs the program that args[0] names, or args[1], and returns its exit status.
// --list prints the names of the programs, one a line.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	for i := range min(2, len(args)) {
		if p, ok := lookup(args[i]); ok {
			return p.main(args[i:], stdin, stdout, stderr)
		}
	}
	switch {
	case len(args) == 2 && args[1] == "--list":
		fmt.Fprintln(stdout, strings.Join(names(), "\n"))
		return cli.ExitOK
	case len(args) == 2 && args[1] == "--help":
		fmt.Fprint(stdout, usage())
		return cli.ExitOK
	case len(args) > 1:
		fmt.Fprintf(stderr, "backup-programs: %q is not a program\n", args[1])
	case len(args) > 0 && filepath.Base(args[0]) != "backup-programs":
		fmt.Fprintf(stderr, "backup-programs: called as %q, which is not a program\n", args[0])
	}
	fmt.Fprint(stderr, usage())
	return cli.ExitUsage
}

// lookup finds the program with the last component of a path as its name.
func lookup(path string) (program, bool) {
	name := filepath.Base(path)
	for _, p := range all() {
		if p.name == name {
			return p, true
		}
	}
	return program{}, false
}

func names() []string {
	var out []string
	for _, p := range all() {
		out = append(out, p.name)
	}
	return out
}

func usage() string {
	return "usage: backup-programs PROGRAM [ARGUMENT...], or by a link with the name of PROGRAM\n" +
		"       backup-programs --list\n" +
		"PROGRAM is one of " + strings.Join(names(), ", ") + ".\n"
}
