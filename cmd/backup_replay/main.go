// Command backup_replay pushes mail to any csync server, as sync_client would: to try a
// server, to fill it, or to measure it.
package main

import (
	"os"

	"github.com/cyrusbackup/backupd/cmd/internal/replay"
)

func main() {
	os.Exit(replay.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
