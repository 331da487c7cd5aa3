// Command backupd is a server for Cyrus IMAP's replication protocol that keeps what it
// is sent in object storage. Cyrus master(8) starts it; docs/design.md, section 3.
package main

import (
	"context"
	"os"

	_ "github.com/cyrusbackup/backupd/internal/master/early" // before anything else is initialised
)

func main() {
	p := program{
		args:   os.Args,
		getenv: os.Getenv,
		stdout: os.Stdout,
		stderr: os.Stderr,
		euid:   os.Geteuid(),
		logger: newLogger,
		build:  newService,
	}
	os.Exit(p.run(context.Background()))
}
