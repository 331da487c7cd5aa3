package main

import (
	"crypto/sha1"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// BenchmarkReserve asks for 10,000 messages in a partition whose index has a million: all held,
// half of them held, none held.
func BenchmarkReserve(b *testing.B) {
	const known, asked = 1_000_000, 10_000
	set, x := openWithIndex(b)
	s := session.New(set, session.Who{Connection: "bench"})
	ctx := b.Context()
	box := &mailbox{name: "user.anne", crc: cyrus.NewCRC()}
	// The first commit creates the repository, which clears the index.
	if err := s.GetUser(ctx, "anne", func(string, dlist.Value) error { return nil }); err != nil {
		b.Fatal(err)
	}
	if err := box.deliver(ctx, s, []byte("Subject: first\r\n\r\n")); err != nil {
		b.Fatal(err)
	}
	if err := box.commit(ctx, s); err != nil {
		b.Fatal(err)
	}
	fill(b, x, known)
	for _, c := range []struct {
		name string
		held int
	}{{"held", asked}, {"half", asked / 2}, {"missing", 0}} {
		b.Run(c.name, func(b *testing.B) {
			guids := make([]cyrus.GUID, asked)
			for i := range guids {
				if i < c.held {
					guids[i] = guidOf(i * (known / asked))
				} else {
					guids[i] = guidOf(known + i)
				}
			}
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				missing, err := s.Reserve(ctx, "default", []string{box.name}, guids)
				if err != nil {
					b.Fatal(err)
				}
				if len(missing) != asked-c.held {
					b.Fatalf("%d are missing, want %d", len(missing), asked-c.held)
				}
			}
			b.ReportMetric((cpuTime(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpuTime returns the processor time of this process.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func guidOf(i int) cyrus.GUID { return sha1.Sum(fmt.Append(nil, i)) }

// fill adds messages to the index as the put of their packs would.
func fill(b testing.TB, x *index.Index, n int) {
	b.Helper()
	err := x.UpdateLong(func(t *index.Txn) error {
		if err := t.Set(index.PackKey("default", 1), make([]byte, 32)); err != nil {
			return err
		}
		for i := range n {
			g := guidOf(i)
			m := indexvalue.Shared{Size: 100, Pack: 1, Chunks: make([]history.ChunkID, 1)}
			copy(m.Chunks[0][:], g[:])
			if err := t.Set(index.SharedKey("default", g[:]), indexvalue.AppendShared(nil, m)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkGetUser reports a user with 1,000 mailboxes and subscriptions.
func BenchmarkGetUser(b *testing.B) {
	const mailboxes = 1000
	a := newAsker(b, mailboxes)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		a.ask()
	}
	b.ReportMetric((cpuTime(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
}

// openWithIndex opens a Set on a bucket in memory, with its index.
func openWithIndex(b testing.TB) (*partitions.Set, *index.Index) {
	b.Helper()
	x, err := index.Open(filepath.Join(b.TempDir(), "index"), index.Options{FilterMemory: 8 << 20})
	if err != nil {
		b.Fatal(err)
	}
	set, err := partitions.Open(partitions.Options{
		Index: x, Host: "bench", Software: "bench", NoCheckpoints: true,
		Partitions: []repository.Config{{Name: "default", Location: "bench", Store: memstore.New(time.Now)}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := set.Close(); err != nil {
			b.Error(err)
		}
		if err := x.Close(); err != nil {
			b.Error(err)
		}
	})
	return set, x
}
