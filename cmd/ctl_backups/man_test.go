package main

import (
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/manpage"
)

func TestManPage(t *testing.T) { manpage.Program(t, "ctl_backups.8", new(command).commandLine()) }
