package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

const (
	yearDays    = 365
	yearCommits = 100 // a day; one in ten has a message
)

// aYear measures a log of a year of rolling mail before and after it was compacted: to open it, and
// to restore one message.
func aYear(ctx context.Context, l *lab, t *record.Table, rep int) error {
	if rep > 0 && !l.full {
		return nil
	}
	programs, err := l.programsAtDays()
	if err != nil {
		return err
	}
	for _, sub := range l.subjects(minio, dirStore) {
		if sub.build != l.newest() {
			continue
		}
		err := l.once(ctx, sub, setup{idle: true}, func(s *server) error {
			d, err := newDays(s.dir)
			if err != nil {
				return err
			}
			y := &year{compacting{lab: l, server: s, days: d, programs: programs, table: t}}
			return y.run(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// year is the measurement of one store.
type year struct{ compacting }

func (y *year) run(ctx context.Context) error {
	store, err := y.open(ctx)
	if err != nil {
		return err
	}
	x, err := newSite(ctx, store, y.days, 1)
	if err != nil {
		return err
	}
	guid, err := y.write(ctx, x)
	if err == nil {
		err = errors.Join(y.days.pass(4), y.own())
	}
	if err != nil {
		return err
	}
	y.lab.progress("  %s: %d commits", y.column(), x.users[0].tip.Number)
	count, end, err := y.throughRelay()
	if err != nil {
		return err
	}
	defer end()
	y.count = count
	if err := y.read(ctx, "before compact", guid); err != nil {
		return err
	}
	if err := y.step(ctx, "compact", "ctl_backups", "compact", "-A"); err != nil {
		return err
	}
	return errors.Join(y.read(ctx, "after compact", guid), closeStore(store))
}

// write puts the commits, and returns the GUID of a message of the first day.
func (y *year) write(ctx context.Context, x *site) (guid string, err error) {
	for range yearDays {
		var waiting sync.WaitGroup
		errs := make([]error, yearCommits)
		slots := make(chan struct{}, 8)
		for i := range yearCommits {
			u := x.users[0]
			m := x.generate(0, 0, int(u.uid))
			mail := []siteMail{m}
			if i%10 == 0 {
				mail[0] = x.generate(0, 0, int(u.uid)+1)
			} else {
				u.uid-- // another change of the last message
				mail[0].body = nil
			}
			if guid == "" {
				guid = mail[0].GUID.String()
			}
			key, object, err := x.build(u, mail, nil, nil)
			if err != nil {
				return "", err
			}
			waiting.Go(func() {
				slots <- struct{}{}
				errs[i] = x.put(ctx, key, object)
				<-slots
			})
		}
		waiting.Wait()
		if err := errors.Join(append(errs, y.days.passNow(1))...); err != nil {
			return "", err
		}
	}
	return guid, nil
}

// read opens the backup, and restores a message.
func (y *year) read(ctx context.Context, when, guid string) error {
	out := filepath.Join(y.dir, "out "+when)
	if err := mkdir(out); err != nil {
		return err
	}
	return errors.Join(
		y.step(ctx, when+": cyr_backup list mailboxes", "cyr_backup", "user0000", "list", "mailboxes"),
		y.step(ctx, when+": ctl_backups reindex", "ctl_backups", "reindex", "user0000"),
		y.step(ctx, when+": restore of one message to a file", "restore", "--to", "eml:"+filepath.Join(out, "x"), "user0000", guid),
		wantMail(out, 1))
}

// step runs a program and measures it.
func (y *year) step(ctx context.Context, work, program string, args ...string) error {
	var before traffic
	if y.count != nil {
		before = y.count()
	}
	c, err := timed(ctx, y.atDays(y.days, filepath.Join(y.programs, program), args...))
	if err != nil {
		return fmt.Errorf("%s: %w", work, err)
	}
	addCost(y.table, work, y.column(), c)
	if y.count != nil {
		n := y.count().since(before)
		y.table.Add(work, y.column(), record.Requests, float64(n.gets+n.lists+n.puts+n.deletes))
	}
	y.lab.progress("  %s: %s: %.1f s", y.column(), work, c.wall)
	return nil
}
