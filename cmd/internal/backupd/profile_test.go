package backupd

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/control"
)

// taken returns a profile as a tool receives it.
func taken(t *testing.T, p *profiles, kind string, length time.Duration) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	err := p.send(t.Context(), kind, length, func(v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		var part []byte
		if err := json.Unmarshal(b, &part); err != nil {
			return err
		}
		out.Write(part)
		return nil
	})
	return out.Bytes(), err
}

func TestProfiles(t *testing.T) {
	for _, kind := range control.ProfileKinds() {
		b, err := taken(t, new(profiles), kind, time.Millisecond)
		want := "\x1f\x8b" // gzip
		switch kind {
		case "goroutine":
			want = "goroutine "
		case "trace":
			want = "go 1."
		}
		if err != nil || !strings.HasPrefix(string(b), want) {
			t.Errorf("%s: %v, %.20q", kind, err, b)
		}
	}
}

func TestProfileRefused(t *testing.T) {
	var p profiles
	for want, ask := range map[string]func() error{
		"is not a kind":   func() error { _, err := taken(t, &p, "cmdline", 0); return err },
		"at most 10m":     func() error { _, err := taken(t, &p, "cpu", time.Hour); return err },
		"another profile": func() error { p.busy.Lock(); defer p.busy.Unlock(); _, err := taken(t, &p, "heap", 0); return err },
	} {
		if err := ask(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}
