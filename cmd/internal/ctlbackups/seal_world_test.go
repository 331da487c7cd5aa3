package ctlbackups

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
)

// sealed is a world whose lists are signed and copied to a directory.
type sealed struct {
	*tooltest.World
	t    *testing.T
	conf string
	out  string // directory of the copies
	bob  *tooltest.Mailbox
}

const sealRetention = "backup_retention: 3d\nbackup_tripwire: no\n"

// sealing makes backups of bob and anne, a key, and the first list.
func sealing(t *testing.T, partitions ...string) *sealed {
	t.Helper()
	if len(partitions) == 0 {
		partitions = []string{"default"}
	}
	w := tooltest.New(t, partitions...)
	s := &sealed{World: w, t: t, out: t.TempDir(), bob: tooltest.NewMailbox("user.bob")}
	s.conf = sealRetention + "backup_seal_key: " + filepath.Join(t.TempDir(), "seal.key") + "\n"
	anne := tooltest.NewMailbox("user.anne")
	anne.Deliver(tooltest.Mail("for anne", "carol@example.org", 300), w.Now)
	w.Sync(anne)
	s.mail(3)
	if err := os.WriteFile(filepath.Join(w.Dir, "imapd.conf"), []byte("configdirectory: "+w.Dir+"\n"+s.conf), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.run("-C", filepath.Join(w.Dir, "imapd.conf"), "seal", "--init-key"); err != nil || !strings.Contains(out, "backup_seal_public_keys: RW") {
		t.Fatalf("%v: %s", err, out)
	}
	s.seal()
	return s
}

// mail makes n more commits of bob.
func (s *sealed) mail(n int) {
	s.t.Helper()
	for range n {
		s.bob.Deliver(tooltest.Mail(fmt.Sprint("bob ", len(s.bob.Records)), "carol@example.org", 300), s.Now)
		s.Sync(s.bob)
	}
}

func (s *sealed) run(argv ...string) (string, error) {
	s.t.Helper()
	return toolWith(s.t, s.World, s.conf, argv...)
}

func (s *sealed) must(argv ...string) string {
	s.t.Helper()
	out, err := s.run(argv...)
	if err != nil {
		s.t.Fatalf("ctl_backups %s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// seal makes a list without findings, a minute later.
func (s *sealed) seal() string {
	s.t.Helper()
	s.Now = s.Now.Add(time.Minute)
	return s.must("seal", "-A", "--to", s.out)
}

// accept accepts what all lists have recorded.
func (s *sealed) accept() {
	s.t.Helper()
	s.Now = s.Now.Add(time.Minute)
	newest := "0"
	for _, key := range s.Stores[0].Keys("attestations/") {
		if name, ok := strings.CutSuffix(strings.TrimPrefix(key, "attestations/"), ".minisig"); ok {
			newest = max(newest, name)
		}
	}
	newest = strings.TrimLeft(newest, "0")
	s.finds(nil, "seal", "-A", "--to", s.out, "--accept", newest)
}

// finds runs a command that has to report each text, and to fail. No text: it reports nothing.
func (s *sealed) finds(want []string, argv ...string) {
	s.t.Helper()
	out, err := s.run(argv...)
	if len(want) == 0 {
		if err != nil || len(problemLines(out)) > 0 {
			s.t.Errorf("ctl_backups %s: %v\n%s", strings.Join(argv, " "), err, out)
		}
		return
	}
	if !errors.Is(err, cli.ErrReported) {
		s.t.Errorf("ctl_backups %s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			s.t.Errorf("ctl_backups %s: no %q in\n%s", strings.Join(argv, " "), text, out)
		}
	}
}

// problemLines returns the lines that are neither the result for a partition nor an explanation.
func problemLines(out string) (lines []string) {
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "seal ") && !strings.HasPrefix(line, "verify ") && !strings.Contains(line, ": it was ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// forger is a host of an attacker: it has the bucket, and another index.
func (s *sealed) forger() *tooltest.World {
	f := tooltest.New(s.t, "default")
	f.Now = s.Now
	f.Stores[0].Rollback(s.Stores[0].Snapshot(), "", false)
	return f
}

// putIn puts an object into a partition.
func putIn(s *sealed, part int, key string, b []byte) {
	s.t.Helper()
	if _, err := s.Stores[part].Put(s.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// lose removes all objects with a prefix.
func (s *sealed) lose(prefix string) {
	for _, key := range s.Stores[0].Keys(prefix) {
		s.Stores[0].Lose(key)
	}
}
