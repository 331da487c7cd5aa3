package partitions_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// checked makes a repository with every kind of object: commits with inline bodies, packs, and
// two checkpoints with their blocks.
func checked(t *testing.T) *memstore.Store {
	store := newStore()
	h := newHost(t, store)
	inbox, sent := newSource("user.anne"), newSource("user.anne.Sent")
	for n := range 20 {
		inbox.deliver(mail(n, 60_000))
	}
	h.sync("anne", inbox)
	sent.deliver(mail(100, 500))
	h.sync("anne", inbox, sent)
	checkpoint(t, store)
	inbox.flag(inbox.records[0], `\Seen`)
	inbox.deliver(mail(101, 700))
	h.sync("anne", inbox, sent)
	checkpoint(t, store)
	inbox.deliver(mail(102, 900))
	h.sync("anne", inbox, sent)
	return store
}

func checkpoint(t *testing.T, s objstore.Store) {
	t.Helper()
	m, err := history.Load(t.Context(), s, "user/anne", history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
		t.Fatal(err)
	}
}

func verified(t *testing.T, s objstore.Store, quick bool) ([]string, verify.Result) {
	t.Helper()
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: s}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	done, err := verify.Run(t.Context(), f, verify.Options{Quick: quick, Report: func(p verify.Problem) { problems = append(problems, p.String()) }})
	if err != nil {
		t.Fatal(err)
	}
	return problems, done
}

func TestVerifySound(t *testing.T) {
	s := checked(t)
	for _, quick := range []bool{true, false} {
		problems, done := verified(t, s, quick)
		if len(problems) > 0 {
			t.Errorf("quick %v: %q", quick, problems)
		}
		if !quick && (done.Commits != 4 || done.Checkpoints != 2 || done.Mailboxes != 2 || done.Messages != 23) {
			t.Errorf("checked %+v", done)
		}
	}
}

func body(t *testing.T, s objstore.Store, key string) []byte {
	t.Helper()
	o, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func replace(t *testing.T, s objstore.Store, key string, b []byte) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func containers(t *testing.T, s objstore.Store) []string {
	t.Helper()
	var out []string
	for i, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(i.Key, ".tar.zst") {
			out = append(out, i.Key)
		}
	}
	return out
}

// kindOf returns the part of the layout that a key belongs to.
func kindOf(key string) string {
	for _, k := range []string{"packs/", "/log/", "/checkpoints/", "/records/"} {
		if strings.Contains(key, k) {
			return k
		}
	}
	return key
}

// verify finds a flipped bit at any position of any object, and names the object.
func TestVerifyFindsFlippedBits(t *testing.T) {
	s := checked(t)
	kinds := map[string]bool{}
	flips := 7 // in each object
	if stride() > 1 {
		flips = 3
	}
	for _, key := range containers(t, s) {
		kinds[kindOf(key)] = true
		whole := body(t, s, key)
		step := max(len(whole)/flips, 1)
		for at := 3; at < len(whole); at += step {
			b := bytes.Clone(whole)
			b[at] ^= 0x10
			replace(t, s, key, b)
			problems, _ := verified(t, s, false)
			if !strings.Contains(strings.Join(problems, "\n"), key) && !sameContent(t, whole, b) {
				t.Errorf("%s, byte %d of %d: %q", key, at, len(whole), problems)
			}
		}
		replace(t, s, key, whole)
	}
	if len(kinds) < 4 {
		t.Errorf("only these kinds of objects were checked: %v", kinds)
	}
}

// sameContent reports whether a flipped bit changed nothing: decoders ignore one bit of a
// frame's header, and some other bits only ask for a larger window.
func sameContent(t *testing.T, a, b []byte) bool {
	t.Helper()
	read := func(object []byte) (content []byte, dir *pack.Directory, err error) {
		dec, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer dec.Close()
		if content, err = dec.DecodeAll(object, nil); err != nil {
			return nil, nil, err
		}
		dir, err = pack.ReadDirectory(func(off, n int64) (io.ReadCloser, error) {
			start, n, err := objstore.Span(off, n, int64(len(object)))
			return io.NopCloser(bytes.NewReader(object[start : start+n])), err
		}, int64(len(object)))
		return content, dir, err
	}
	wantContent, wantDir, err := read(a)
	if err != nil {
		t.Fatal(err)
	}
	content, dir, err := read(b)
	return err == nil && bytes.Equal(content, wantContent) && slices.Equal(dir.Entries, wantDir.Entries)
}

func TestVerifyFindsLostObjects(t *testing.T) {
	s := checked(t)
	for _, key := range containers(t, s) {
		if strings.Contains(key, "/checkpoints/") || strings.HasSuffix(key, "/log/0000000000000004.tar.zst") {
			continue // the log replaces a lost checkpoint, and a log without its newest commit is a valid shorter history
		}
		whole := body(t, s, key)
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if problems, _ := verified(t, s, false); !strings.Contains(strings.Join(problems, "\n"), key) {
			t.Errorf("%s was deleted: %q", key, problems)
		}
		replace(t, s, key, whole)
	}
}

// verify finds a checkpoint that is intact but contains another state than the log.
func TestVerifyFindsWrongCheckpoint(t *testing.T) {
	s := checked(t)
	m, err := history.Load(t.Context(), s, "user/anne", history.Moment{Number: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for box, err := range m.Mailboxes() {
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Record(box.UniqueID, 1)
		if err != nil {
			t.Fatal(err)
		}
		other := *r
		other.Flags = []string{`\Draft`}
		if err := m.PutRecord(box.UniqueID, &other); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
		t.Fatal(err)
	}
	problems, _ := verified(t, s, false)
	text := strings.Join(problems, "\n")
	for _, want := range []string{"checkpoints/0000000000000003.tar.zst: the checkpoint differs from the state of the log", "user.anne: 22 records, 22 of them live, with CRC"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// verify reports messages that the source could not read, but not as damage.
func TestVerifyListsMissingBodies(t *testing.T) {
	store := newStore()
	h := newHost(t, store)
	inbox := newSource("user.anne")
	r := inbox.deliver(mail(1, 500))
	inbox.deliver(mail(2, 500))
	delete(inbox.bodies, r.GUID)
	h.sync("anne", inbox)
	problems, done := verified(t, store, false)
	want := fmt.Sprintf("[user.anne: uid 1: message %s: the body is missing: the mail server could not read it, or it was lost here; the next sync asks for it]", r.GUID)
	if fmt.Sprint(problems) != want || done.Damaged != 0 || done.Missing != 1 {
		t.Errorf("%v, %+v; want %s", problems, done, want)
	}
}

// An unreachable store is an error, not damage.
func TestVerifyDuringOutage(t *testing.T) {
	s := checked(t)
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: s}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	s.SetFaults(func(op, key string) error {
		if strings.HasPrefix(key, "packs/") {
			return &objstore.Error{Op: op, Key: key, Temporary: true, Err: fmt.Errorf("503")}
		}
		return nil
	}, nil)
	_, err = verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) { t.Errorf("reported: %s", p) }})
	if !objstore.IsTemporary(err) {
		t.Errorf("%v, want a temporary error", err)
	}
}

// If only a checkpoint of a log remains, verify does not take the backup for a new one without
// commits.
func TestVerifyFindsLostLog(t *testing.T) {
	s := checked(t)
	for _, key := range containers(t, s) {
		if strings.Contains(key, "/log/") {
			if err := s.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, quick := range []bool{true, false} {
		if problems, done := verified(t, s, quick); done.Damaged == 0 || !strings.Contains(strings.Join(problems, "\n"), "backups/user/anne") {
			t.Errorf("quick %v: %q", quick, problems)
		}
	}
}

// An old backup without a commit has lost its log, but a new backup without a commit is sound.
func TestVerifyWithoutCommits(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want int
	}{{time.Minute, 0}, {48 * time.Hour, 1}} {
		s := checked(t)
		for _, key := range containers(t, s) {
			if strings.HasPrefix(key, "backups/user/anne/") {
				if err := s.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
		}
		info := fmt.Sprintf(`{"version":1,"name":"anne","kind":"user","created":%q,"id":"0123456789abcdef0123456789abcdef"}`, time.Now().Add(-c.age).UTC().Format(time.RFC3339))
		if _, err := s.Put(t.Context(), "backups/user/anne/backup.json", bytes.NewReader([]byte(info)), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if problems, done := verified(t, s, false); done.Damaged != c.want {
			t.Errorf("%s old: %q", c.age, problems)
		}
	}
}

// verify ignores unknown keys below a backup.
func TestVerifyIgnoresOtherKeys(t *testing.T) {
	s := checked(t)
	for _, key := range []string{"notes.txt", "log/notes", "log/0000000000000001.tar.zst.part", "checkpoints/1.tar.zst", "records/x.tar.zst"} {
		replace(t, s, "backups/user/anne/"+key, []byte("x"))
	}
	if problems, _ := verified(t, s, false); len(problems) > 0 {
		t.Errorf("%q", problems)
	}
}

// An unreadable lock.json blocks every writer, so verify reports it.
func TestVerifyFindsDamagedLock(t *testing.T) {
	s := checked(t)
	if err := lock(t, found(t, s), repository.LockOptions{}).Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if problems, _ := verified(t, s, false); len(problems) > 0 {
		t.Fatalf("%q", problems)
	}
	const key = "backups/user/anne/lock.json"
	replace(t, s, key, body(t, s, key)[:20])
	for _, quick := range []bool{true, false} {
		if problems, _ := verified(t, s, quick); len(problems) != 1 || !strings.Contains(problems[0], key) {
			t.Errorf("quick %v: %q", quick, problems)
		}
	}
}

// An unreadable holds.json counts as a hold, so verify reports it, and what ends that.
func TestVerifyFindsDamagedHolds(t *testing.T) {
	s := checked(t)
	if err := found(t, s).PlaceHold(t.Context(), repository.Hold{Kind: repository.HoldPlaced}, time.Now); err != nil {
		t.Fatal(err)
	}
	if problems, _ := verified(t, s, false); len(problems) > 0 {
		t.Fatalf("%q", problems)
	}
	key := repository.HoldsKey("user/anne")
	replace(t, s, key, body(t, s, key)[:20])
	for _, quick := range []bool{true, false} {
		problems, done := verified(t, s, quick)
		if len(problems) != 1 || done.Damaged != 1 || !strings.Contains(problems[0], key) || !strings.Contains(problems[0], "release") {
			t.Errorf("quick %v: %q", quick, problems)
		}
	}
}

// Unreadable leases of upkeep are reported.
func TestVerifyFindsDamagedUpkeep(t *testing.T) {
	for _, key := range []string{repository.CollectionKey, repository.UpkeepKey("user/anne")} {
		s := checked(t)
		replace(t, s, key, []byte(`{"version":1,`))
		if problems, _ := verified(t, s, false); len(problems) != 1 || !strings.Contains(problems[0], key) {
			t.Errorf("%q", problems)
		}
	}
}

// An unreadable condemned.json blocks every writer of the partition, so verify reports it.
func TestVerifyFindsDamagedCondemnedList(t *testing.T) {
	s := checked(t)
	replace(t, s, history.CondemnedKey, []byte("{"))
	for _, quick := range []bool{true, false} {
		if problems, _ := verified(t, s, quick); len(problems) != 1 || !strings.Contains(problems[0], history.CondemnedKey) {
			t.Errorf("quick %v: %q", quick, problems)
		}
	}
}

// A quick verify checks every block of the newest checkpoint, too.
func TestVerifyQuicklyFindsLostBlocks(t *testing.T) {
	s := checked(t)
	m := load(t, s, "user/anne")
	defer m.Close()
	lost := 0
	for _, key := range containers(t, s) {
		if !strings.Contains(key, "/records/") {
			continue
		}
		whole := body(t, s, key)
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if problems, _ := verified(t, s, true); strings.Contains(strings.Join(problems, "\n"), key) {
			lost++
		}
		replace(t, s, key, whole)
	}
	if lost != 2 { // each checkpoint wrote one object; the newest refers to blocks in both
		t.Errorf("%d lost objects were reported, want 2", lost)
	}
}

// A checkpoint does not explain missing commits at the beginning of the log: only a retained
// event in the log shows that retention removed them.
func TestVerifyFindsLostBeginning(t *testing.T) {
	s := checked(t)
	for n := uint64(1); n <= 2; n++ {
		if err := s.Delete(t.Context(), history.LogKey("user/anne", n)); err != nil {
			t.Fatal(err)
		}
	}
	const want = "0000000000000002.tar.zst: the log begins with commit 3, and no retained event"
	if problems, _ := verified(t, s, false); !strings.Contains(strings.Join(problems, "\n"), want) {
		t.Errorf("%q", problems)
	}
	m := load(t, s, "user/anne")
	defer m.Close()
	bld := history.NewBuilder(history.Header{Backup: "user/anne", Number: m.Tip().Number + 1, Prev: m.Tip().Hash, Time: m.Tip().Time, Clock: m.Tip().Time}, pack.Options{})
	if err := bld.Event(&history.RetainedEvent{From: 1, To: 2}); err != nil {
		t.Fatal(err)
	}
	obj, _, err := bld.Finish(nil)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, s, history.LogKey("user/anne", m.Tip().Number+1), obj)
	// The bodies of these commits are still reported as missing.
	if problems, _ := verified(t, s, false); strings.Contains(strings.Join(problems, "\n"), want) {
		t.Errorf("removed by retention: %q", problems)
	}
}
