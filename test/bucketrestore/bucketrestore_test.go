// Package bucketrestore tests docs/bucket-restore.py: it must restore what backupd wrote, byte for
// byte, with only Python and zstd.
package bucketrestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/objstore/prefixed"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// script returns the absolute path of the tested script.
func script(t *testing.T) string {
	t.Helper()
	p, err := filepath.Abs("../../docs/bucket-restore.sh")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// tools returns a directory for PATH with exactly the programs that docs/bucket-restore.md requires.
func tools(t *testing.T, more ...string) string {
	t.Helper()
	dir := t.TempDir()

	for _, name := range slices.Concat([]string{"sh", "dirname", "python3", "zstd"}, more) {
		path, err := exec.LookPath(name)
		if err == nil && name == "python3" { // may be a wrapper script
			var out []byte
			out, err = exec.Command(path, "-c", "import sys; print(sys.executable)").Output()
			path = strings.TrimSpace(string(out))
		}
		if err != nil {
			t.Fatalf("%v: test/deps.sh installs it", err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// person runs the script in a shell.
type person struct {
	t     *testing.T
	store string // STORE of the script
	env   []string
}

// run runs the script.
func (p *person) run(args ...string) (stdout, stderr string, err error) {
	p.t.Helper()
	c := exec.CommandContext(p.t.Context(), "sh", append([]string{script(p.t), p.store}, args...)...)
	c.Env = p.env
	var out, diag bytes.Buffer
	c.Stdout, c.Stderr = &out, &diag
	err = c.Run()
	return out.String(), diag.String(), err
}

func (p *person) must(args ...string) string {
	p.t.Helper()
	out, diag, err := p.run(args...)
	if err != nil {
		p.t.Fatalf("bucket-restore.sh %q: %v\n%s", args, err, diag)
	}
	return out
}

// restore restores and returns the files, by their path in the Maildir.
func (p *person) restore(args ...string) map[string]string {
	p.t.Helper()
	dir := filepath.Join(p.t.TempDir(), "Maildir")
	p.must(slices.Insert(slices.Clone(args), 2, dir)...)
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "folders.ndjson" || d.Name() == "maildirfolder" {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return files
}

// host is a backup host with one store.
type host struct {
	t     *testing.T
	store objstore.Store
	set   *partitions.Set
	tick  time.Duration // resolution of the store's clock
	stop  func()
}

func newHost(t *testing.T, s objstore.Store, checkpointEvery int) *host {
	t.Helper()
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := partitions.Open(partitions.Options{
		Partitions: []repository.Config{{Name: "default", Location: "test", Store: s}},
		Index:      x, Host: "host", Software: "test",
		NoCheckpoints: checkpointEvery == 0, CheckpointObject: checkpointEvery,
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, store: s, set: set}
	h.stop = func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
	return h
}

// do runs fn in a new session.
func (h *host) do(fn func(ctx context.Context, s *session.Session) error) {
	h.t.Helper()
	s := session.New(h.set, session.Who{Connection: "c1", Client: "repl [127.0.0.1]"})
	defer s.Close()
	if err := fn(h.t.Context(), s); err != nil {
		h.t.Fatal(err)
	}
}

// moment returns the time of the newest commit of a backup. If the store reports whole seconds, it
// waits, so that the next commit has another time.
func (h *host) moment(backup string) string {
	h.t.Helper()
	m, err := history.Load(h.t.Context(), h.store, backup, history.Moment{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer m.Close()
	time.Sleep(time.Until(m.Tip().Time.Add(h.tick)))
	return m.Tip().Time.UTC().Format(time.RFC3339Nano)
}

// waitForCheckpoint waits until a checkpoint of a backup exists.
func (h *host) waitForCheckpoint(backup string) {
	h.t.Helper()
	for {
		n, err := (&history.Log{Store: h.store, Backup: backup}).Checkpoints(h.t.Context())
		if err == nil && len(n) > 0 {
			return
		}
		select {
		case <-h.t.Context().Done():
			h.t.Fatalf("no checkpoint of %s: %v", backup, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// story is the history of a user's mail, with the state of the source at four moments.
type story struct {
	moments []string // RFC 3339; the last one is the current state
	want    []map[string]string
}

// makeStory creates the history of user anne.
func makeStory(h *host) *story {
	t := h.t
	inbox, sent, work := newBox("user.anne"), newBox("user.anne.Sent"), newBox("user.anne.Work.Entw&APw-rfe 1")
	gone := newBox("user.anne.Gone")
	boxes := []*box{inbox, sent, work, gone}
	st := &story{}
	note := func(live ...*box) {
		st.moments = append(st.moments, h.moment("user/anne"))
		st.want = append(st.want, maildir(live...))
	}

	for i := range 25 {
		inbox.deliver(mail(i, 3000))
	}
	attachment := noise(7, 3<<20)
	inbox.deliver(slices.Concat(mail(50, 400), attachment)) // split into pieces
	sent.deliver(mail(3, 3000))                             // also in the INBOX
	inbox.deliver(nil)                                      // empty
	inbox.flag(3, `\Seen`, "$Label1")
	inbox.flag(4, `\Answered`, `\Flagged`, `\Draft`, `\Deleted`, `\Seen`)
	for i := range 30 {
		work.deliver(mail(1000+i, 60000)) // more than fits into a commit: packs
	}
	gone.deliver(mail(60, 700))
	for _, b := range boxes {
		h.do(b.sync)
	}
	note(boxes...)

	// Flags change, messages are expunged, new mail arrives.
	inbox.flag(5, `\Seen`)
	inbox.expunge(1, 2, 26)
	inbox.deliver(slices.Concat(mail(51, 900), attachment)) // shares pieces
	sent.deliver(mail(61, 800))
	h.do(inbox.sync)
	h.do(sent.sync)
	note(boxes...)

	// One mailbox is renamed, one deleted, and one gets the name of another.
	rename := func(b *box, name string) {
		h.do(func(ctx context.Context, s *session.Session) error {
			return s.ApplyRename(ctx, cyrus.Rename{Old: b.name, New: name, Partition: "default", UIDValidity: 1700000000})
		})
		b.name = name
	}
	rename(work, "user.anne.Archive")
	h.do(func(ctx context.Context, s *session.Session) error { return s.ApplyUnmailbox(ctx, gone.name) })
	again := newBox("user.anne.Gone")
	again.id = "againagainagainagainagai"
	again.deliver(mail(62, 600))
	h.do(again.sync)
	note(inbox, sent, work, again)

	// The complete set of records replaces the old one.
	sent.expungeUnheard(1)
	h.do(sent.syncAll)
	work.deliver(mail(63, 500))
	h.do(work.sync)
	note(inbox, sent, work, again)

	other := newBox("shared.info")
	other.deliver(mail(70, 500))
	h.do(other.sync)
	if t.Failed() {
		t.FailNow()
	}
	return st
}

// checkStory restores the user at each moment.
func checkStory(t *testing.T, p *person, st *story) {
	if got, want := p.must("list"), "user/anne\nshared/shared\n"; got != want {
		t.Errorf("list: %q, want %q", got, want)
	}
	for i, want := range st.want {
		got := p.restore("restore", "user/anne", "", st.moments[i])
		compare(t, fmt.Sprintf("as of moment %d (%s)", i, st.moments[i]), got, want)
	}
	now := st.want[len(st.want)-1]
	compare(t, "now", p.restore("restore", "user/anne"), now)
	one := map[string]string{}
	for name, body := range now {
		if strings.HasPrefix(name, ".Archive/") {
			one[name] = body
		}
	}
	compare(t, "one mailbox", p.restore("restore", "user/anne", "user.anne.Archive"), one)
	if got := p.restore("restore", "shared/shared"); len(got) != 1 {
		t.Errorf("the shared mailbox: %v", slices.Collect(maps.Keys(got)))
	}
	got := p.must("mailboxes", "user/anne", st.moments[0])
	if !strings.Contains(got, "user.anne.Work.Entw&APw-rfe 1\t") || strings.Contains(got, "Archive") {
		t.Errorf("mailboxes as of the first moment:\n%s", got)
	}
}

func compare(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		body, ok := got[name]
		switch {
		case !ok:
			t.Errorf("%s: %s is missing", what, name)
		case body != want[name]:
			t.Errorf("%s: %s differs: %d bytes, want %d", what, name, len(body), len(want[name]))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: unexpected %s", what, name)
		}
	}
}

func TestDirectory(t *testing.T) {
	for _, every := range []int{0, 3} {
		t.Run(fmt.Sprintf("checkpoint every %d", every), func(t *testing.T) { testDirectory(t, every) })
	}
}

func testDirectory(t *testing.T, every int) {
	dir := t.TempDir()
	s, err := dirstore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, s, every)
	st := makeStory(h)
	if every > 0 {
		h.waitForCheckpoint("user/anne")
	}
	h.stop()
	p := &person{t, dir, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	checkStory(t, p, st)
	compact(t, s, "user/anne", "shared/shared")
	checkStory(t, p, st)
	checkErrors(t, p, dir, st)
}

// compact merges all commits of backups but the newest, however young they are.
func compact(t *testing.T, s objstore.Store, paths ...string) {
	t.Helper()
	p := repository.Config{Name: "default", Location: "test", Store: s}
	m := maintenance.NewMerger(p, maintenance.MergeOptions{PackSize: 8 << 20, Before: time.Now().Add(time.Hour)})
	for _, path := range paths {
		f, err := repository.FindPath(t.Context(), p, path)
		if err != nil {
			t.Fatal(err)
		}
		u, err := repository.BeginUpkeep(t.Context(), f, repository.LockOptions{Owner: "test"})
		if err != nil {
			t.Fatal(err)
		}
		job := m.Add(t.Context(), f, u)
		if err := errors.Join(m.Flush(t.Context()), job.Err, u.End(t.Context())); err != nil {
			t.Fatal(err)
		}
		if path == "user/anne" && job.Removed == 0 {
			t.Errorf("nothing was merged: %+v", job)
		}
	}
}

// An export has its own packs, and moved/ notes that refer to them.
func TestExported(t *testing.T) {
	from, err := dirstore.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, from, 3)
	st := makeStory(h)
	h.waitForCheckpoint("user/anne")
	h.stop()
	dir := t.TempDir()
	to, err := dirstore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := newHost(t, to, 0)
	for f, err := range repository.Browse(t.Context(), repository.Config{Name: "from", Store: from}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := transfer.Copy(t.Context(), f, out.set.Partitions()[0], nil); err != nil {
			t.Fatal(err)
		}
	}
	out.stop()
	if notes, err := filepath.Glob(filepath.Join(dir, "moved/*/*.json")); err != nil || len(notes) == 0 {
		t.Fatalf("no notes in moved/: %v", err)
	}
	p := &person{t, dir, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	checkStory(t, p, st)
	if _, err := to.Put(t.Context(), history.CopyingKey("user/anne", 99), strings.NewReader(history.CopyingBody), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	_, diag, err := p.run("restore", "user/anne", filepath.Join(t.TempDir(), "unfinished"))
	if code := new(exec.ExitError); !errors.As(err, &code) || code.ExitCode() != 75 || !strings.Contains(diag, "was not completely copied") {
		t.Errorf("restore from an unfinished copy: %v\n%s", err, diag)
	}
}

func TestRclone(t *testing.T) {
	bucket := storyOnMinIO(t)
	checkStory(t, &person{t, "rclone:bucket:" + bucket.name, append(bucket.server.Env(),
		"PATH="+tools(t, "rclone"), "TMPDIR="+t.TempDir(), "HOME="+t.TempDir(), "RCLONE_CONFIG=/dev/null",
		"RCLONE_CONFIG_BUCKET_TYPE=s3", "RCLONE_CONFIG_BUCKET_PROVIDER=Minio", "RCLONE_CONFIG_BUCKET_ENV_AUTH=true",
		"RCLONE_CONFIG_BUCKET_ENDPOINT="+bucket.server.URL())}, bucket.story)
}

// Once only, because each object needs a program that takes a second to start.
func TestAWS(t *testing.T) {
	bucket := storyOnMinIO(t)
	dir := tools(t)
	// The version in Debian 12 does not support AWS_ENDPOINT_URL.
	wrapper := fmt.Sprintf("#!/bin/sh\nexec /usr/bin/aws --endpoint-url %s \"$@\"\n", bucket.server.URL())
	if err := os.WriteFile(filepath.Join(dir, "aws"), []byte(wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	p := &person{t, "aws:s3://" + bucket.name, append(bucket.server.Env(),
		"PATH="+dir, "TMPDIR="+t.TempDir(), "HOME="+t.TempDir(), "AWS_DEFAULT_REGION=us-east-1")}
	if got, want := p.must("list"), "user/anne\nshared/shared\n"; got != want {
		t.Errorf("list: %q, want %q", got, want)
	}
	st := bucket.story
	compare(t, "now", p.restore("restore", "user/anne"), st.want[len(st.want)-1])
}

// storedStory is a story in a bucket.
type storedStory struct {
	server *miniotest.Server
	name   string // includes the prefix
	story  *story
}

func storyOnMinIO(t *testing.T) storedStory {
	t.Helper()
	if testing.Short() {
		t.Skip("needs MinIO and a tool for buckets")
	}
	minio := miniotest.Start(t)
	bucket := minio.NewBucket(t)
	s, err := miniostore.Open(minio.Location(bucket), miniostore.Options{Credentials: minio.Credentials()})
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, prefixed.New(s, "mail/site1"), 3)
	h.tick = 2 * time.Second
	st := makeStory(h)
	h.waitForCheckpoint("user/anne")
	h.stop()
	return storedStory{minio, bucket + "/mail/site1", st}
}

// checkErrors: the script reports what it cannot restore, with a status other than 0.
func checkErrors(t *testing.T, p *person, dir string, st *story) {
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"restore", "user/nobody", filepath.Join(t.TempDir(), "m")}, "no such backup", 75},
		{[]string{"restore", "user/anne", filepath.Join(t.TempDir(), "m"), "user.anne.Nothing"}, "no mailbox", 75},
		{[]string{"restore", "user/anne", filepath.Join(t.TempDir(), "m"), "", "2001-01-01T00:00:00Z"}, "no data at that time", 75},
		{[]string{"mailboxes", "user/anne", "2001-01-01T00:00:00Z"}, "no data at that time", 75},
		{[]string{"restore", "user/anne", t.TempDir()}, "new directory", 75},
		{[]string{"mailboxes", "user/anne", "yesterday"}, "usage", 64},
		{[]string{"list", "more"}, "usage", 64},
	} {
		_, diag, err := p.run(c.args...)
		var code int
		if e := (*exec.ExitError)(nil); errors.As(err, &e) {
			code = e.ExitCode()
		}
		if code != c.code || !strings.Contains(diag, c.want) {
			t.Errorf("%q: status %d, %q; want %d, %q", c.args, code, diag, c.code, c.want)
		}
	}
	// The second of the last commit includes the whole commit.
	last := st.moments[len(st.moments)-1]
	exact, diag, err := p.run("mailboxes", "user/anne", last)
	if whole, diag2, err2 := p.run("mailboxes", "user/anne", last[:len("2006-01-02T15:04:05")]+"Z"); err != nil || err2 != nil || whole != exact {
		t.Errorf("at %s: %q, %v, %s; in that second: %q, %v, %s", last, exact, err, diag, whole, err2, diag2)
	}
	packs, err := filepath.Glob(filepath.Join(dir, "packs/*/*"))
	if err != nil || len(packs) == 0 {
		t.Fatal("no packs", err)
	}
	for _, p := range packs {
		if err := os.Truncate(p, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if _, diag, err := p.run("restore", "user/anne", filepath.Join(t.TempDir(), "m"), "", st.moments[0]); err == nil || !strings.Contains(diag, "cannot read") {
		t.Errorf("a truncated pack: %v, %s", err, diag)
	}
}

// The golden repository of version 1 has objects that are not written yet: segments, rewritten packs,
// and blocks named by commits.
func TestGolden(t *testing.T) {
	golden, err := filepath.Abs("../../partitions/history/testdata/golden/v1")
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t, golden, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	s, err := dirstore.Open(golden)
	if err != nil {
		t.Fatal(err)
	}
	for _, moment := range []string{"2026-03-01T12:05:30Z", "2026-03-01T12:06:00Z"} {
		compare(t, moment, p.restore("restore", "user/anne", "", moment), fromHistory(t, s, moment))
	}
	// The later state has a message that the source itself could not read.
	_, diag, err := p.run("restore", "user/anne", filepath.Join(t.TempDir(), "m"), "", "2026-03-01T12:08:30Z")
	if err == nil || !strings.Contains(diag, "no body") {
		t.Errorf("a missing body: %v, %s", err, diag)
	}
}

// The golden repository of version 3 has two erased messages. One has arrived again.
func TestGoldenErased(t *testing.T) {
	golden, err := filepath.Abs("../../partitions/history/testdata/golden/v3")
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t, golden, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	for moment, want := range map[string]string{
		"2026-03-01T12:01:00Z": "1 of 3 messages restored, 2 erased, 0 problems",
		"2026-03-01T12:03:00Z": "1 of 1 message",
		"2026-03-01T12:04:00Z": "2 of 2 messages restored, 0 problems",
	} {
		out, diag, err := p.run("restore", "user/anne", filepath.Join(t.TempDir(), "m"), "", moment)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, %s%s", moment, err, out, diag)
		}
	}
}
