package master

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxShutdownLine limits the bytes read from a shutdown file (imap/global.c reads into 1024 bytes).
const maxShutdownLine = 1024

// ShutdownMessage reads the file with which an administrator closes a Cyrus server:
// {configdirectory}/msg/shutdown.<service>, then {configdirectory}/msg/shutdown (imap/global.c,
// shutdown_file). If one can be opened, it returns the first line, suitable for "* BYE", and true.
// It is cheap enough to call before every command.
func ShutdownMessage(configdirectory, service string) (string, bool) {
	base := filepath.Join(configdirectory, "msg", "shutdown")
	for _, name := range []string{base + "." + service, base} {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		line, _ := bufio.NewReader(io.LimitReader(f, maxShutdownLine)).ReadString('\n')
		_ = f.Close()
		return printable(line), true
	}
	return "", false
}

// printable makes a line of a file safe for a protocol line.
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
