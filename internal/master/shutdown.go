package master

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxShutdownLine bounds what is read of a shutdown file, in bytes (imap/global.c
// reads into 1024 bytes).
const maxShutdownLine = 1024

// ShutdownMessage looks for the file by which an administrator closes a Cyrus server:
// {configdirectory}/msg/shutdown.<service>, then {configdirectory}/msg/shutdown
// (imap/global.c, shutdown_file). If either can be opened it returns the file's first
// line, fit for "* BYE", and true. It is cheap enough to ask before every command.
func ShutdownMessage(configdirectory, service string) (string, bool) {
	base := filepath.Join(configdirectory, "msg", "shutdown")
	for _, name := range []string{base + "." + service, base} {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		line, _ := bufio.NewReader(io.LimitReader(f, maxShutdownLine)).ReadString('\n')
		f.Close()
		return printable(line), true
	}
	return "", false
}

// printable keeps a line of a file from becoming more than a line of the protocol.
func printable(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s))
	if s == "" {
		return "shutting down"
	}
	return s
}
