package syncport

import (
	"strings"
	"testing"
)

func TestParseTo(t *testing.T) {
	for in, want := range map[string]string{"srv": "srv", "srv:99/tls": "srv:99/tls", "sync://srv": "srv", "sync://srv:99/": "srv:99", "sync:srv": "srv"} {
		if got, err := ParseTo(in, "forms"); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for in, want := range map[string]string{
		"sync://": "names no server", "sync:": "names no server", "sync:///": "names no server",
		"sync://repl:secret@srv": "without a user or a password", "repl@srv:99": "without a user or a password",
		"a/b": "neither a server", "sync://a/b": "neither a server", "sync:///nowhere/sock": "no such socket",
	} {
		if got, err := ParseTo(in, "forms"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}
