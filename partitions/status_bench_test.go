package partitions

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// BenchmarkStatus is ctl_backups status of a host with 100,000 backups, of which one in a hundred is refused and
// one in a thousand waits for a mailbox.
func BenchmarkStatus(b *testing.B) {
	const backups = 100_000
	x, err := index.Open(filepath.Join(b.TempDir(), "index"), index.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	now := time.Now()
	s := &Set{index: x, log: slog.New(slog.DiscardHandler), contacts: newContacts(now), opt: Options{Now: time.Now, Host: "backup1"},
		parts: []*Partition{{name: "default"}}, troubles: newTroubles(slog.New(slog.DiscardHandler), time.Now)}
	if err := s.generate(backups, now); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	begun := processorTime(b)
	for b.Loop() {
		st, err := s.Status()
		if err != nil || st.Partitions[0].Backups != backups || st.Lacking[BehindRefused] != backups/100 || st.Lacking[BehindResync] != backups/1000 {
			b.Fatal(err, st.Partitions, st.Lacking)
		}
	}
	b.ReportMetric(float64((processorTime(b)-begun).Milliseconds())/float64(b.N), "cpu-ms/status")
}

// processorTime returns the time that this process has computed.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// generate fills the index as a census and commits of n users do.
func (s *Set) generate(n int, now time.Time) error {
	for i := range 10 {
		s.Contact(fmt.Sprintf("repl mail%d.example.com [192.0.2.%d]", i, i))
	}
	if err := s.FlushContacts(); err != nil {
		return err
	}
	if err := s.index.Update(func(t *index.Txn) error { return setCensus(t, "default", now) }); err != nil {
		return err
	}
	for from := 0; from < n; from += 1000 {
		if err := s.index.UpdateLong(func(t *index.Txn) error { return generateSome(t, from, from+1000, now) }); err != nil {
			return err
		}
	}
	return nil
}

func generateSome(t *index.Txn, from, to int, now time.Time) error {
	for i := from; i < to; i++ {
		name := fmt.Sprintf("user%06d@example.com", i)
		path := repository.UserName(name).Path()
		own := ownObjects{Number: 7, Bytes: int64(i), Changed: now.Add(-time.Duration(i) * time.Minute), Since: now.Add(-24 * time.Hour)}
		e := entry{Partition: "default", Kind: repository.KindUser, Name: name, ID: uint64(i), Number: 7, Hash: fmt.Sprintf("%064x", i), Time: now,
			Random: fmt.Sprintf("%032x", i), ETag: fmt.Sprintf("%q", fmt.Sprintf("%032x", i)), LogBytes: 1000, Own: own}
		client := fmt.Sprintf("repl mail%d.example.com [192.0.2.%d]", i%10, i%10)
		values := map[string]any{
			string(index.BackupKey(path)):             e,
			string(index.SummaryKey("default", path)): counted{Kind: repository.KindUser, Name: name, Own: own, Seen: now},
			string(index.ContactKey(path)):            backupContact{Client: client, At: now},
		}
		if i%100 == 0 {
			values[string(index.RefusalKey(path))] = repository.Refusal{Client: client, Backup: path, Kind: "damage", Since: now, At: now, Error: "commit 7 is damaged"}
		}
		for k, v := range values {
			if err := setJSON(t, index.Key(k), v); err != nil {
				return err
			}
		}
		if i%1000 == 0 {
			if err := t.Set(index.ResyncKey(uint64(i), "a"), nil); err != nil {
				return err
			}
		}
	}
	return nil
}
