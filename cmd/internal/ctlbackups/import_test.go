package ctlbackups

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// dataFile writes a file like the backupd of Cyrus 3.6, with two chunks: a message and its
// mailbox; then another message, the expunge of the first one, and the deletion of the mailbox.
func dataFile(t *testing.T, dir string, cut int) string {
	one, two := tooltest.Mail("one", "bob@example.org", 300), tooltest.Mail("two", "bob@example.org", 400)
	message := func(b []byte) string {
		return fmt.Sprintf("APPLY MESSAGE (%%{default %x %d}\r\n%s)\r\n", sha1.Sum(b), len(b), b)
	}
	record := func(uid, modseq int, flags string, b []byte) string {
		return fmt.Sprintf("%%(UID %d MODSEQ %d LAST_UPDATED 1700000000 FLAGS (%s) INTERNALDATE 1690000000 SIZE %d GUID %x)", uid, modseq, flags, len(b), sha1.Sum(b))
	}
	mailbox := func(last, modseq int, records ...string) string {
		return fmt.Sprintf("APPLY MAILBOX %%(UNIQUEID abcdefghijklmnopqrstuvwx MBOXNAME user.anne LAST_UID %d HIGHESTMODSEQ %d RECENTUID 0 RECENTTIME 0 "+
			"LAST_APPENDDATE 1700000000 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 1700000000 PARTITION default ACL \"anne\tlrswipkxtecdan\t\" OPTIONS P "+
			"SYNC_CRC 5 SYNC_CRC_ANNOT 5 SINCE_MODSEQ 77 RECORD (%s))\r\n", last, modseq, strings.Join(records, " "))
	}
	chunks := [][]string{
		{"1700000000 " + message(one), "1700000001 " + mailbox(1, 2, record(1, 2, "", one)), "1700000002 APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n"},
		{"1700086400 " + message(two), "1700086401 " + mailbox(2, 4, record(1, 3, `\Expunged`, one), record(2, 4, `\Seen`, two)),
			"1700172800 APPLY UNMAILBOX user.anne\r\n"},
	}
	var data bytes.Buffer
	n := 0
	for _, lines := range chunks {
		z := gzip.NewWriter(&data)
		fmt.Fprint(z, "# cyrus backup: chunk start\r\n")
		for _, l := range lines {
			if n++; n <= cut {
				fmt.Fprint(z, l)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "anne_aB3xYz")
	if err := os.WriteFile(path, data.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// expectImported checks that the history has its times, and that deleted items can be restored.
func expectImported(t *testing.T, w *tooltest.World) {
	t.Helper()
	f, err := w.Bucket("").Find(t.Context(), cli.ByUser, "anne")
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int64]string{1700000001: "1 live of 1", 1700086401: "1 live of 2", 1700172800: "1 live of 2, deleted 1700172800"} {
		m, err := f.Load(t.Context(), history.Moment{Time: time.Unix(at, 0)})
		if err != nil {
			t.Fatal(err)
		}
		box, err := m.Mailbox("abcdefghijklmnopqrstuvwx")
		if err != nil || box == nil {
			t.Fatalf("at %d: %v, %v", at, box, err)
		}
		got := fmt.Sprintf("%d live of %d", box.Live, box.Records)
		if !box.Deleted.IsZero() {
			got += fmt.Sprintf(", deleted %d", box.Deleted.Unix())
		}
		if got != want || box.Resync != "" {
			t.Errorf("at %d: %s, resync %q; want %s", at, got, box.Resync, want)
		}
		if at == 1700086401 {
			r, err := m.Record(box.UniqueID, 1)
			if err != nil || r.Expunged != at {
				t.Errorf("uid 1: %+v, %v", r, err)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	done, err := verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) { t.Errorf("verify: %s", p) }})
	if err != nil || done.Messages != 2 || done.Commits != 4 {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	w := tooltest.New(t, "default")
	dir := t.TempDir()
	path := dataFile(t, dir, 99)
	for _, other := range []string{"anne_aB3xYz.index", "anne_aB3xYz.1700000000", "backups.db"} {
		if err := os.WriteFile(filepath.Join(dir, other), []byte("SQLite"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time there is nothing to do
		out, err := tool(t, w, "import", dir)
		if err != nil || out != "import "+path+": ok\n" {
			t.Fatalf("%v: %s", err, out)
		}
		expectImported(t, w)
	}
}

// An interrupted import continues where it stopped.
func TestImportContinues(t *testing.T) {
	for cut := 1; cut <= 5; cut++ {
		t.Run(strconv.Itoa(cut)+" lines", func(t *testing.T) {
			t.Parallel()
			w := tooltest.New(t, "default")
			dir := t.TempDir()
			if out, err := tool(t, w, "import", dataFile(t, dir, cut)); err != nil {
				t.Fatalf("first part: %v: %s", err, out)
			}
			if out, err := tool(t, w, "import", dataFile(t, dir, 99)); err != nil {
				t.Fatalf("all of it: %v: %s", err, out)
			}
			expectImported(t, w)
		})
	}
}

func TestImportRejectsAnExistingHistory(t *testing.T) {
	t.Parallel()
	w := tooltest.New(t, "default")
	w.Sync(tooltest.NewMailbox("user.anne"))
	out, err := tool(t, w, "import", dataFile(t, t.TempDir(), 99))
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "has its own history") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestImportOfADamagedFile(t *testing.T) {
	t.Parallel()
	w := tooltest.New(t, "default")
	path := dataFile(t, t.TempDir(), 99)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := tool(t, w, "import", path)
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "failed (chunk 2, line ") {
		t.Errorf("%v: %s", err, out)
	}
}

// An unreachable store ends an import. The next run continues at the failed line, and loses
// none.
func TestImportOverAnOutage(t *testing.T) {
	w := tooltest.New(t, "default")
	path := dataFile(t, t.TempDir(), 99)
	var begun time.Time
	w.Stores[0].SetFaults(func(op, key string) error {
		if op != "put" || !strings.HasSuffix(key, "/log/0000000000000003.tar.zst") {
			return nil
		}
		if begun.IsZero() {
			begun = time.Now()
		}
		if time.Since(begun) < 300*time.Millisecond {
			return memstore.ErrInjected
		}
		return nil
	}, nil)
	var out, errs bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil }
	c := &command{ctx: t.Context(), open: open, now: w.Now, clock: func() time.Time { return w.Now }, out: &out, err: &errs,
		setOptions: partitions.Options{OutageWait: 200 * time.Millisecond, PatientWait: 10 * time.Second}}
	if err := c.run([]string{"import", path}); !errors.Is(err, cli.ErrReported) ||
		!strings.Contains(out.String(), "chunk 2, line 5: ") || !strings.Contains(out.String(), "run the import again") {
		t.Errorf("%v: %s%s", err, out.Bytes(), errs.Bytes())
	}
	w.Stores[0].SetFaults(nil, nil)
	if out, err := tool(t, w, "import", path); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	expectImported(t, w)
}
