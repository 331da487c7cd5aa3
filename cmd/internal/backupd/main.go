// Package backupd is the server of that name: it speaks Cyrus IMAP's replication protocol and
// stores mail in object storage. Cyrus master(8) starts it; docs/design.md, section 3.
package backupd

import (
	"context"
	"io"
	"os"

	_ "github.com/cyrusbackup/backupd/internal/master/early" // before anything else is initialised
)

// Main runs the program and returns its exit status. args begin with the program's name.
// Without master(8) and systemd, one connection is on stdin and stdout.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := program{
		args:   args,
		getenv: os.Getenv,
		stdin:  stdin,
		stdout: stdout,
		stderr: stderr,
		euid:   os.Geteuid(),
		logger: newLogger,
		build:  newService,
		end:    endMost,
		exit:   os.Exit,
	}
	return p.run(context.Background())
}
