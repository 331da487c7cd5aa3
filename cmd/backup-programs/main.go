// Command backup-programs is all programs in one file. It runs the program whose name it is
// called by.
package main

import (
	"os"

	"github.com/cyrusbackup/backupd/cmd/internal/programs"
)

func main() {
	os.Exit(programs.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
