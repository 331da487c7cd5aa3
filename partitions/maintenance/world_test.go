package maintenance_test

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// world is a partition with backups that are merged.
type world struct{ *partition }

func newWorld(t *testing.T) *world {
	return &world{newPartition(t, time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))}
}

// owner is a backup with one mailbox.
type owner struct {
	w    *world
	path string
	tip  history.Tip
	uid  uint32
	mail map[uint32]string
}

// backup creates the backup of a user.
func (w *world) backup(user string) *owner {
	w.t.Helper()
	o := &owner{w: w, path: w.user(user).Path, mail: map[uint32]string{}}
	o.commit(func(b *history.Builder) {
		o.event(b, &history.MailboxEvent{UniqueID: "inbox", Name: "user." + user, Fields: []dlist.Pair{dlist.P("UNIQUEID", dlist.S("inbox")), dlist.P("MBOXNAME", dlist.S("user."+user))}})
	})
	return o
}

func (o *owner) event(b *history.Builder, e history.Event) {
	o.w.t.Helper()
	if err := b.Event(e); err != nil {
		o.w.t.Fatal(err)
	}
}

// commit puts the next commit, a minute after the last one.
func (o *owner) commit(fill func(*history.Builder)) {
	o.w.t.Helper()
	o.w.setNow(o.w.now.Add(time.Minute))
	h := history.Header{Backup: o.path, Number: o.tip.Number + 1, Prev: o.tip.Hash, Time: o.w.now, Host: "h", Clock: o.w.now, Connection: "c", Client: "test"}
	b := history.NewBuilder(h, pack.Options{})
	fill(b)
	object, hash, err := b.Finish(nil)
	if err != nil {
		o.w.t.Fatal(err)
	}
	o.w.put(history.LogKey(o.path, h.Number), object)
	o.tip = history.Tip{Number: h.Number, Hash: fmt.Sprintf("%x", hash), Time: h.Time}
}

// deliver commits a message whose body is in the commit.
func (o *owner) deliver(body string, private bool) {
	o.w.t.Helper()
	o.uid++
	o.mail[o.uid] = body
	guid, chunk := cyrus.GUID(sha1.Sum([]byte(body))), history.ChunkID(sha256.Sum256([]byte(body)))
	o.commit(func(b *history.Builder) {
		o.event(b, &history.MessagesEvent{Messages: []history.Message{{GUID: guid, Size: int64(len(body)), Chunks: []history.ChunkID{chunk}, Private: private}}})
		o.event(b, &history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{{UID: o.uid, ModSeq: uint64(o.uid), Size: uint32(len(body)), GUID: guid, Flags: []string{}}}})
		b.Place(history.Place{Chunk: chunk, Object: ".", Entry: guid.String() + ".eml"})
		b.Inline(guid.String()+".eml", []byte(body))
	})
}

// flag commits a change without a body.
func (o *owner) flag(uid uint32) {
	o.w.t.Helper()
	body := o.mail[uid]
	o.commit(func(b *history.Builder) {
		o.event(b, &history.RecordsEvent{UniqueID: "inbox", Records: []*cyrus.Record{{UID: uid, ModSeq: o.tip.Number, Size: uint32(len(body)), GUID: sha1.Sum([]byte(body)), Flags: []string{`\Seen`}}}})
	})
}

// days commits mail on several days.
func (o *owner) days(n int) {
	o.w.t.Helper()
	for range n {
		for range 3 {
			o.deliver(fmt.Sprintf("Subject: %s %d\r\n\r\n%s\r\n", o.path, o.uid+1, strings.Repeat("text ", 40)), false)
		}
		o.flag(o.uid)
		o.w.setNow(o.w.now.Truncate(24 * time.Hour).Add(32 * time.Hour))
	}
}

// check loads the state, compares it with the mail, and reads each body.
func (o *owner) check(s objstore.Store) error {
	ctx := o.w.t.Context()
	m, err := history.Load(ctx, s, o.path, history.Moment{})
	if err != nil {
		return err
	}
	defer m.Close()
	if m.Tip().Number != o.tip.Number || m.Tip().Hash != o.tip.Hash {
		return fmt.Errorf("%s ends with commit %d, want %d", o.path, m.Tip().Number, o.tip.Number)
	}
	objects := history.NewObjects(s, 0)
	found := 0
	for r, err := range m.Records("inbox", 0) {
		if err != nil {
			return err
		}
		msg, err := m.Message(r.GUID)
		if err != nil || msg == nil {
			return fmt.Errorf("uid %d: %v, %w", r.UID, msg, err)
		}
		body, err := history.OpenMessage(ctx, objects, msg, m.Places)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(body)
			err = errors.Join(err, body.Close())
		}
		if err != nil || string(b) != o.mail[r.UID] {
			return fmt.Errorf("uid %d: %q, %w", r.UID, b, err)
		}
		found++
	}
	if found != len(o.mail) {
		return fmt.Errorf("%s has %d messages, want %d", o.path, found, len(o.mail))
	}
	return nil
}

func (o *owner) must(s objstore.Store) {
	o.w.t.Helper()
	if err := o.check(s); err != nil {
		o.w.t.Fatal(err)
	}
}

// clean runs verify, and fails for any problem.
func (o *owner) clean() {
	o.w.t.Helper()
	f := o.found(o.w.memory)
	if _, err := verify.Run(o.w.t.Context(), f, verify.Options{Report: func(p verify.Problem) { o.w.t.Errorf("verify: %s", p) }}); err != nil {
		o.w.t.Error(err)
	}
}

func (o *owner) found(s objstore.Store) *repository.Found {
	o.w.t.Helper()
	f, err := repository.FindPath(o.w.t.Context(), repository.Config{Name: "p", Location: "memory", Store: s}, o.path)
	if err != nil {
		o.w.t.Fatal(err)
	}
	return f
}

// log returns the names of the objects of the log, without directories and suffixes.
func (o *owner) log() (names []string) {
	for _, key := range o.w.memory.Keys(history.LogPrefix(o.path)) {
		name := strings.TrimSuffix(strings.TrimPrefix(key, history.LogPrefix(o.path)), ".tar.zst")
		var parts []string
		for part := range strings.SplitSeq(name, "-") {
			parts = append(parts, strings.TrimLeft(part, "0"))
		}
		names = append(names, strings.Join(parts, "-"))
	}
	slices.Sort(names)
	return names
}

// merger returns a Merger for the present time.
func (w *world) merger(s objstore.Store) *maintenance.Merger {
	return maintenance.NewMerger(repository.Config{Name: "p", Location: "memory", Store: s},
		maintenance.MergeOptions{PackSize: 1 << 20, Before: maintenance.LastDay(w.now, maintenance.MinLogAge)})
}

// merge merges backups through a store. It returns the first error.
func (w *world) merge(s objstore.Store, list ...*owner) ([]*maintenance.Merged, error) {
	w.t.Helper()
	ctx := w.t.Context()
	m := w.merger(s)
	var out []*maintenance.Merged
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	for _, o := range list {
		u, err := repository.BeginUpkeep(ctx, o.found(w.memory), repository.LockOptions{Owner: "test", Now: w.clock})
		if err != nil {
			note(err)
			continue
		}
		defer func() { _ = u.End(context.WithoutCancel(ctx)) }() // its requests may fail
		f := o.found(w.memory)
		f.Partition.Store = s
		out = append(out, m.Add(ctx, f, u))
	}
	note(m.Flush(ctx))
	for _, r := range out {
		note(r.Err)
	}
	return out, first
}
