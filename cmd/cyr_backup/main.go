// Command cyr_backup looks into one backup. It reads the bucket, not the server's index, so it
// runs wherever the bucket's keys are.
package main

import (
	"os"

	"github.com/cyrusbackup/backupd/cmd/internal/cyrbackup"
)

func main() {
	os.Exit(cyrbackup.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
