package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// allocations returns the number of allocations of the whole process while f runs.
func allocations(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs)
}

func requestsOf(c *observe.Counter) (n float64) {
	for _, x := range c.Snapshot() {
		n += float64(x.Requests)
	}
	return n
}

// started opens a Set on a store, with a session that has made the first commit of a mailbox.
func started(t *testing.T, s objstore.Store) (*session.Session, *mailbox) {
	t.Helper()
	conn := session.New(openSet(t, s), session.Who{Connection: "bench", Client: "bench"})
	box := &mailbox{name: "user.anne", crc: cyrus.NewCRC()}
	err := conn.GetUser(t.Context(), "anne", func(string, dlist.Value) error { return nil })
	if err := errors.Join(err, box.deliver(t.Context(), conn, []byte("Subject: first\r\n\r\n")), box.commit(t.Context(), conn)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn, box
}

// deliverAll commits n messages in commits of 1,000.
func deliverAll(t *testing.T, conn *session.Session, box *mailbox, mail func(int) []byte, n int) {
	t.Helper()
	for i := range n {
		err := box.deliver(t.Context(), conn, mail(i))
		if (i+1)%1000 == 0 {
			err = errors.Join(err, box.commit(t.Context(), conn))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func countIngest(t *testing.T, c counts) {
	for name, open := range map[string]func(testing.TB) objstore.Store{"memory": memory, "directory": directory, "MinIO": bucketOfMinio} {
		const n = 4000
		counter := new(observe.Counter)
		under := open(t)
		conn, box := started(t, observe.New(under, counter.Hooks()))
		mail := newText(5000)
		deliverAll(t, conn, box, mail, 1000) // pools fill
		counter.Reset()
		total := allocations(func() { deliverAll(t, conn, box, mail, n) })
		c["allocations of a 5 KB message, "+name] = total / n
		c["requests of 1,000 messages of 5 KB, "+name] = requestsOf(counter) * 1000 / n
		if name == "memory" {
			c["bytes kept of a 5 KB message"] = sizeOfStore(t, under) / (n + 1001)
		}
	}
}

func sizeOfStore(t *testing.T, s objstore.Store) (n float64) {
	t.Helper()
	for i, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		n += float64(i.Size)
	}
	return n
}

// countRecords sends records whose messages are held: a change of flags.
func countRecords(t *testing.T, c counts) {
	const n = 20000
	conn, box := started(t, memory(t))
	first := box.crc
	for range n {
		err := box.deliver(t.Context(), conn, fmt.Appendf(nil, "Subject: %d\r\n\r\n", box.uid))
		if err != nil {
			t.Fatal(err)
		}
	}
	all := box.unsent
	if err := box.commit(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	box.unsent, box.crc = all, first
	for i, r := range all {
		r.ModSeq, r.Flags = uint64(n+i+2), []string{`\Flagged`}
		box.crc.Add(r)
	}
	box.modseq = uint64(2*n + 2)
	total := allocations(func() {
		if err := box.commit(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	})
	c["allocations of a record of APPLY MAILBOX"] = total / n
}

// countLookups measures a second process: until an index is closed, its newest keys are in memory
// or in tables, as the timing of Badger's goroutines has it, and reading a table allocates more.
func countLookups(t *testing.T, c counts) {
	const known, asked, mailboxes = 100_000, 8192, 1000
	dir, store := filepath.Join(t.TempDir(), "index"), memstore.New(time.Now)
	visitIndex(t, dir, store, func(conn *session.Session, x *index.Index) {
		for i := range mailboxes {
			box := &mailbox{name: fmt.Sprintf("user.anne.box%04d", i), uniqueid: fmt.Sprintf("box%021d", i), crc: cyrus.NewCRC()}
			if err := errors.Join(box.deliver(t.Context(), conn, fmt.Appendf(nil, "Subject: %d\r\n\r\n", i)), box.commit(t.Context(), conn)); err != nil {
				t.Fatal(err)
			}
		}
		fill(t, x, known)
	})
	visitIndex(t, dir, store, func(conn *session.Session, x *index.Index) {
		awaitFilter(t, x)
		getUser := func() {
			if err := conn.GetUser(t.Context(), "anne", func(string, dlist.Value) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		getUser() // opens the backup
		total := allocations(getUser)
		c["allocations of a mailbox in GET USER"] = total / mailboxes
		for _, s := range []struct {
			name          string
			from, missing int
		}{{"held", 0, 0}, {"missing", known, asked}} {
			guids := make([]cyrus.GUID, asked)
			for i := range guids {
				guids[i] = guidOf(s.from + i)
			}
			total = allocations(func() {
				missing, err := conn.Reserve(t.Context(), "default", []string{"user.anne.box0000"}, guids)
				if err != nil || len(missing) != s.missing {
					t.Fatalf("%s: %d missing, %v", s.name, len(missing), err)
				}
			})
			c["allocations of a GUID in RESERVE, "+s.name] = total / asked
		}
	})
}

// visitIndex gives work a connection of a new process with the index in dir.
func visitIndex(t *testing.T, dir string, store objstore.Store, work func(*session.Session, *index.Index)) {
	t.Helper()
	x, err := index.Open(dir, index.Options{FilterMemory: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	set, err := partitions.Open(partitions.Options{
		Index: x, Host: "bench", Software: "bench", NoCheckpoints: true,
		Partitions: []repository.Config{{Name: "default", Location: "bench", Store: store}},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := session.New(set, session.Who{Connection: "bench"})
	work(conn, x)
	if err := errors.Join(conn.Close(), set.Close(), x.Close()); err != nil {
		t.Fatal(err)
	}
}

// awaitFilter waits until the filter of an index has all of its keys.
func awaitFilter(t *testing.T, x *index.Index) {
	t.Helper()
	unknown := guidOf(1 << 40)
	for deadline := time.Now().Add(time.Minute); !x.Lacks(index.SharedKey("default", unknown[:])); {
		if time.Now().After(deadline) {
			t.Fatal("the filter is not ready after a minute")
		}
		time.Sleep(time.Millisecond)
	}
}

// countOpening opens a backup with 20 commits in a new process, with its index and without.
func countOpening(t *testing.T, c counts) {
	store := memstore.New(time.Now)
	dir := filepath.Join(t.TempDir(), "index")
	counter := new(observe.Counter)
	visit := func(work func(*session.Session)) {
		visitIndex(t, dir, observe.New(store, counter.Hooks()), func(conn *session.Session, _ *index.Index) {
			if err := conn.GetUser(t.Context(), "anne", func(string, dlist.Value) error { return nil }); err != nil {
				t.Fatal(err)
			}
			work(conn)
		})
	}
	visit(func(conn *session.Session) {
		box := &mailbox{name: "user.anne", crc: cyrus.NewCRC()}
		for i := range 20 {
			if err := errors.Join(box.deliver(t.Context(), conn, fmt.Appendf(nil, "Subject: %d\r\n\r\n", i)), box.commit(t.Context(), conn)); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, name := range []string{"with its index", "without an index"} {
		counter.Reset()
		visit(func(*session.Session) {})
		c["requests of opening a backup, "+name] = requestsOf(counter)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// countIndex measures the index of a mailbox, after it was closed.
func countIndex(t *testing.T, c counts) {
	const n = 50000
	dir := filepath.Join(t.TempDir(), "index")
	x, err := index.Open(dir, index.Options{FilterMemory: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	store := memstore.New(time.Now)
	set, err := partitions.Open(partitions.Options{
		Index: x, Host: "bench", Software: "bench", NoCheckpoints: true,
		Partitions: []repository.Config{{Name: "default", Location: "bench", Store: store}},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := session.New(set, session.Who{Connection: "bench", Client: "bench"})
	if err := conn.GetUser(t.Context(), "anne", func(string, dlist.Value) error { return nil }); err != nil {
		t.Fatal(err)
	}
	box, mail := &mailbox{name: "user.anne", crc: cyrus.NewCRC()}, newText(600)
	for i := range n {
		if err := box.deliver(t.Context(), conn, mail(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(box.commit(t.Context(), conn), conn.Close(), set.Close(), x.Close()); err != nil {
		t.Fatal(err)
	}
	size, err := sizeOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	c["bytes of index of a message"] = float64(size) / n
	c["bytes kept of a 600-byte message"] = sizeOfStore(t, store) / n
}
