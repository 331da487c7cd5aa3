package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

const (
	inOne        = "first sync, 600-byte messages in one mailbox"
	again        = "nothing new, GET USER"
	reindexed    = "reindex"
	listed       = "cyr_backup list mailboxes"
	statted      = "ctl_backups stat"
	reserveHeld  = "RESERVE of 8,192 GUIDs, held"
	reserveNew   = "RESERVE of 8,192 GUIDs, missing"
	reserved     = 8192
	largeMailbox = 100_000 // messages; above, one repetition is enough
)

// scale measures mailboxes of growing size, each with one APPLY MAILBOX. The columns are sizes.
func scale(ctx context.Context, l *lab, t *record.Table, rep int) error {
	sizes, err := l.mailboxes()
	if err != nil {
		return err
	}
	for _, n := range sizes {
		if n > largeMailbox && rep > 0 && !l.full {
			continue
		}
		for _, sub := range l.subjects(dirStore) {
			err := l.once(ctx, sub, setup{}, func(s *server) error { return l.scaleOne(ctx, t, s, n) })
			if err != nil {
				return fmt.Errorf("%d messages: %w", n, err)
			}
		}
		l.progress("  %s messages", count(n))
	}
	return nil
}

// count formats a number of messages, as in a column.
func count(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return record.Number(float64(n))
}

func (l *lab) scaleOne(ctx context.Context, t *record.Table, s *server, n int) error {
	column, each := count(n)+s.suffix, float64(n)
	m := mail{source: fmt.Sprintf("gen:%d:600", n)}
	p, err := l.push(ctx, s, m)
	if err != nil {
		return err
	}
	t.Add(inOne, column, record.WallEach, p.Seconds/each*1e6)
	t.Add(inOne, column, record.CPUEach, p.serverCPU/each*1e6)
	t.Add(inOne, column, record.PeakRSS, p.peak)
	t.Add(inOne, column, record.KeptEach, float64(p.kept)/each)
	if err := s.rest(ctx); err != nil {
		return err
	}
	if p, err = l.push(ctx, s, m); err != nil {
		return err
	}
	// The client itself computes a CRC of all records, for longer than the server takes.
	t.Add(again, column, record.WallMs, p.Commands["GET USER"].Total.P50)
	s.stop()
	size, err := sizeOf(s.index())
	if err != nil {
		return err
	}
	t.Add(inOne, column, record.IndexEach, float64(size)/each)
	if err := readBack(ctx, t, s, column); err != nil || n < largeMailbox {
		return err
	}
	return l.reserve(ctx, t, s, column)
}

// reserve starts the server again on its rebuilt index, and lets two other users have one message,
// and then a full RESERVE more. (A client asks nothing for a mailbox that the server does not have.)
func (l *lab) reserve(ctx context.Context, t *record.Table, s *server, column string) error {
	if err := s.run(); err != nil {
		return err
	}
	for _, x := range []struct {
		work string
		seed int
	}{{reserveHeld, 0}, {reserveNew, 7}} { // 0: the same messages
		var p push
		for _, n := range []int{1, 1 + reserved} {
			var err error
			m := mail{source: fmt.Sprintf("gen:%d:600:%d", n, x.seed), user: fmt.Sprintf("other%d", x.seed)}
			if p, err = l.push(ctx, s, m); err != nil {
				return err
			}
		}
		r := p.Commands["APPLY RESERVE"]
		if r.Count != 1 {
			return fmt.Errorf("%d RESERVE, want one", r.Count)
		}
		t.Add(x.work, column, record.WallMs, r.Total.P50)
	}
	return nil
}

// readBack measures the tools on the bucket of a stopped server.
func readBack(ctx context.Context, t *record.Table, s *server, column string) error {
	if err := os.RemoveAll(s.index()); err != nil {
		return err
	}
	c, err := timed(ctx, s.tool("ctl_backups", "reindex", "-A"))
	if err != nil {
		return err
	}
	addCost(t, reindexed, column, c)
	if c, err = timed(ctx, s.tool("cyr_backup", "-u", "replay", "list", "mailboxes")); err != nil {
		return err
	}
	t.Add(listed, column, record.Wall, c.wall)
	t.Add(listed, column, record.Read, c.read)
	t.Add(listed, column, record.PeakRSS, c.peak)
	if c, err = timed(ctx, s.tool("ctl_backups", "stat", "replay")); err != nil {
		return err
	}
	t.Add(statted, column, record.Wall, c.wall)
	t.Add(statted, column, record.PeakRSS, c.peak)
	return nil
}
