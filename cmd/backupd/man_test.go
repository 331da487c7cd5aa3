package main

import (
	"testing"

	"backupd/cmd/internal/manpage"
)

func TestManPage(t *testing.T) { manpage.Program(t, "backupd.8", new(options).commandLine(new(int))) }
