// Command ctl_backups administers backups.
package main

import (
	"os"

	"github.com/cyrusbackup/backupd/cmd/internal/ctlbackups"
)

func main() {
	os.Exit(ctlbackups.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
