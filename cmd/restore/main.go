// Command restore restores mail from a backup: into a Cyrus server, into any IMAP server, or
// into files.
package main

import (
	"os"

	"github.com/cyrusbackup/backupd/cmd/internal/restore"
)

func main() {
	os.Exit(restore.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
