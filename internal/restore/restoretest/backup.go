// Package restoretest makes backups in memory for restore tests.
package restoretest

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// Backup is the backup of a user, made in the way a mail server makes it.
type Backup struct {
	t     testing.TB
	user  string
	store *memstore.Store
	set   *partitions.Set
	now   time.Time // store time, a minute later with each Sync
	Boxes []*Box
	s     *session.Session
}

// Box is a mailbox of the mail server.
type Box struct {
	Name, UniqueID string
	LastUID        uint32
	ModSeq         uint64
	Validity       uint32
	Records        []*cyrus.Record
	Bodies         map[cyrus.GUID][]byte
	Extra          []dlist.Pair
}

// New creates an empty backup.
func New(t testing.TB, user string) *Backup {
	b := &Backup{t: t, user: user, now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	b.store = memstore.New(func() time.Time { return b.now })
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.set, err = partitions.Open(partitions.Options{Index: x, Host: "host", Software: "test",
		OutageWait: 10 * time.Second, PatientWait: 10 * time.Second, ClockPause: time.Millisecond,
		Partitions: []repository.Config{{Name: "p0", Location: "memory", Store: b.store}}})
	if err != nil {
		t.Fatal(err)
	}
	b.s = session.New(b.set, session.Who{Connection: "c1", Client: "test"})
	t.Cleanup(func() {
		b.s.Close()
		if err := errors.Join(b.set.Close(), x.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Box adds a mailbox.
func (b *Backup) Box(name string) *Box {
	x := &Box{Name: name, UniqueID: fmt.Sprintf("%x", sha1.Sum([]byte(name)))[:24], ModSeq: 1, Validity: 1700000000, Bodies: map[cyrus.GUID][]byte{}}
	b.Boxes = append(b.Boxes, x)
	return x
}

// Deliver appends a message.
func (x *Box) Deliver(body string, date int64, flags ...string) *cyrus.Record {
	x.LastUID++
	x.ModSeq++
	r := &cyrus.Record{UID: x.LastUID, ModSeq: x.ModSeq, LastUpdated: 1700000000 + int64(x.ModSeq), InternalDate: date,
		Size: uint32(len(body)), GUID: sha1.Sum([]byte(body)), Flags: flags}
	x.Records = append(x.Records, r)
	x.Bodies[r.GUID] = []byte(body)
	return r
}

// Set changes the flags of a message; \Expunged expunges it.
func (x *Box) Set(uid uint32, flags ...string) {
	i := slices.IndexFunc(x.Records, func(r *cyrus.Record) bool { return r.UID == uid })
	x.ModSeq++
	r := *x.Records[i]
	r.ModSeq, r.LastUpdated, r.Flags = x.ModSeq, r.LastUpdated+1, flags
	x.Records[i] = &r
}

// Live returns the records of messages that are not expunged.
func (x *Box) Live() []*cyrus.Record {
	return slices.DeleteFunc(slices.Clone(x.Records), func(r *cyrus.Record) bool { return r.Expunged() })
}

func (x *Box) head() (*cyrus.Mailbox, error) {
	c := cyrus.NewCRC()
	for _, r := range x.Records {
		c.Add(r)
	}
	f := []dlist.Pair{
		dlist.P("UNIQUEID", dlist.S(x.UniqueID)), dlist.P("MBOXNAME", dlist.S(x.Name)),
		dlist.P("SYNC_CRC", dlist.N(uint64(c.Basic))), dlist.P("SYNC_CRC_ANNOT", dlist.N(uint64(c.Annot))),
		dlist.P("LAST_UID", dlist.N(uint64(x.LastUID))), dlist.P("HIGHESTMODSEQ", dlist.N(x.ModSeq)),
		dlist.P("RECENTUID", dlist.N(0)), dlist.P("RECENTTIME", dlist.N(0)), dlist.P("LAST_APPENDDATE", dlist.N(1700000000)),
		dlist.P("POP3_LAST_LOGIN", dlist.N(0)), dlist.P("POP3_SHOW_AFTER", dlist.N(0)),
		dlist.P("UIDVALIDITY", dlist.N(uint64(x.Validity))), dlist.P("PARTITION", dlist.S("default")),
		dlist.P("ACL", dlist.S("anne\tlrswipkxtecdan\t")), dlist.P("OPTIONS", dlist.S("P")),
		dlist.P("CREATEDMODSEQ", dlist.N(1)), dlist.P("FOLDERMODSEQ", dlist.N(9)),
	}
	m, _, err := cyrus.ParseMailbox(append(f, x.Extra...))
	return m, err
}

// Sync updates the backup and returns the store's time.
func (b *Backup) Sync() time.Time {
	b.t.Helper()
	b.now = b.now.Add(time.Minute)
	ctx := b.t.Context()
	for _, x := range b.Boxes {
		for g, body := range x.Bodies {
			if err := b.s.Message(ctx, "default", g, int64(len(body)), bytes.NewReader(body)); err != nil {
				b.t.Fatal(err)
			}
		}
		head, err := x.head()
		if err == nil {
			err = b.s.ApplyMailbox(ctx, head, cyrus.Since{}, func(yield func(*cyrus.Record, error) bool) {
				for _, r := range x.Records {
					if !yield(r, nil) {
						return
					}
				}
			})
		}
		if err != nil {
			b.t.Fatalf("%s: %v", x.Name, err)
		}
	}
	b.s.Restart(ctx)
	return b.now
}

// Checkpoint writes a checkpoint of the newest commit, so that records are in blocks.
func (b *Backup) Checkpoint() {
	b.t.Helper()
	mem, err := history.Load(b.t.Context(), b.store, repository.UserName(b.user).Path(), history.Moment{})
	if err == nil {
		_, err = mem.WriteCheckpoint(b.t.Context(), pack.Options{})
		err = errors.Join(err, mem.Close())
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// Fault makes the store fail; nil ends that.
func (b *Backup) Fault(f memstore.Fault) { b.store.SetFaults(f, nil) }

// Session is the connection that Sync uses, for data outside mailboxes.
func (b *Backup) Session() *session.Session { return b.s }

// Found is the backup as programs find it.
func (b *Backup) Found() *repository.Found {
	return &repository.Found{Partition: repository.Config{Name: "p0", Location: "memory", Store: b.store},
		Path: repository.UserName(b.user).Path(), Info: repository.BackupInfo{Version: repository.Version, Kind: repository.KindUser, Name: b.user}}
}

// Source opens the backup as of a moment; the zero time is now.
func (b *Backup) Source(at time.Time) *restore.Source {
	b.t.Helper()
	return b.SourceOf(history.Moment{Time: at})
}

// SourceOf opens the backup as of a time or a commit.
func (b *Backup) SourceOf(at history.Moment) *restore.Source {
	b.t.Helper()
	return b.sourceOf(b.store, at)
}

// Counted opens the backup as of now, and counts the operations of the source on the store.
func (b *Backup) Counted() (*restore.Source, *observe.Counter) {
	b.t.Helper()
	c := new(observe.Counter)
	return b.sourceOf(observe.New(b.store, c.Hooks()), history.Moment{}), c
}

func (b *Backup) sourceOf(store objstore.Store, at history.Moment) *restore.Source {
	b.t.Helper()
	path := repository.UserName(b.user).Path()
	mem, err := history.Load(b.t.Context(), store, path, at)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := mem.Close(); err != nil {
			b.t.Error(err)
		}
	})
	return restore.NewSource(mem, history.NewObjects(store, 0))
}

// Stored returns the size and the number of all objects.
func (b *Backup) Stored() (size int64, objects int) {
	for _, key := range b.store.Keys("") {
		size += int64(len(b.store.Bytes(key)))
		objects++
	}
	return size, objects
}

// Mail returns a message with this subject.
func Mail(subject string) string {
	return "From: a@example.org\r\nSubject: " + subject + "\r\nMessage-ID: <" + subject + "@example.org>\r\n\r\nFrom here on: " + subject + "\r\n"
}

// Progress ignores all reports.
type Progress struct{}

// Total implements restore.Progress.
func (Progress) Total(int, int64) {}

// Add implements restore.Progress.
func (Progress) Add(int, int64) {}

// Report fails the test if an item could not be restored.
func Report(t testing.TB) *restore.Report {
	return &restore.Report{Progress: Progress{}, Problem: func(err error) { t.Errorf("problem: %v", err) }}
}

// WriteTo writes the objects of the store below a directory, in the layout of package
// dirstore, for another process.
func (b *Backup) WriteTo(dir string) {
	b.t.Helper()
	for _, key := range b.store.Keys("") {
		to := filepath.Join(dir, filepath.FromSlash(key))
		err := os.MkdirAll(filepath.Dir(to), 0o700)
		if err == nil {
			err = os.WriteFile(to, b.store.Bytes(key), 0o600)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
}
