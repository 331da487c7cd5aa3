// Command backupd is a server for Cyrus IMAP's replication protocol that stores what it is sent in
// object storage. Cyrus master(8) starts it; docs/design.md, section 3.
package main

import (
	"os"

	"github.com/cyrusbackup/backupd/cmd/internal/backupd"
)

func main() {
	os.Exit(backupd.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
