package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

const (
	wholeUser = "one user, " + small
	anne      = "anne"
)

// intoCyrus restores a user into fresh sync_servers: by Debian's restore and ours. The column of
// sync_server is backup_replay's push of the same mail: the destination's own limit.
func intoCyrus(ctx context.Context, l *lab, t *record.Table, _ int) error {
	for _, sub := range l.subjects(replica, debian, dirStore, minio) {
		work := func(s *server) error { return l.restoreWhole(ctx, t, s) }
		if sub.kind == replica {
			work = func(s *server) error { return l.destinationLimit(ctx, t, s) }
		}
		if err := l.once(ctx, sub, setup{}, work); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) destinationLimit(ctx context.Context, t *record.Table, s *server) error {
	p, err := l.push(ctx, s, mail{source: smallMail, user: anne})
	if err != nil {
		return err
	}
	t.Add(wholeUser, s.column(), record.Wall, p.Seconds)
	t.Add(wholeUser, s.column(), record.TargetCPU, p.serverCPU)
	return nil
}

// restoreWhole fills a backup, and restores it into a new sync_server.
func (l *lab) restoreWhole(ctx context.Context, t *record.Table, s *server) error {
	if _, err := l.push(ctx, s, mail{source: smallMail, user: anne}); err != nil {
		return err
	}
	s.stop() // Debian's restore needs the lock
	return l.once(ctx, subject{kind: replica, build: s.build}, setup{}, func(to *server) error {
		args := []string{"-a", "-U", to.addr, "-u", anne}
		cmd := s.tool("restore", args...)
		if s.kind == debian {
			cmd = s.foreign(filepath.Join(l.cyrus, "restore"), append([]string{"-C", s.conf}, args...)...)
		}
		before, _, err := to.cpu()
		if err != nil {
			return err
		}
		c, err := timed(ctx, cmd)
		if err != nil {
			return err
		}
		after, _, err := to.cpu()
		if err != nil {
			return err
		}
		addCost(t, wholeUser, s.column(), c)
		t.Add(wholeUser, s.column(), record.TargetCPU, after-before)
		return wantMail(filepath.Join(to.dir, "spool"), smallN)
	})
}

// oneMessage restores a single message by its GUID, to a file.
func oneMessage(ctx context.Context, l *lab, t *record.Table, _ int) error {
	dir, err := l.maildir(ctx, smallMail)
	if err != nil {
		return err
	}
	guid, err := guidOfOne(dir)
	if err != nil {
		return err
	}
	for _, sub := range l.subjects(dirStore, minio) {
		err := l.once(ctx, sub, setup{}, func(s *server) error {
			if _, err := l.push(ctx, s, mail{source: smallMail}); err != nil {
				return err
			}
			s.stop()
			return restoreOne(ctx, t, s, guid)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func restoreOne(ctx context.Context, t *record.Table, s *server, guid string) error {
	out := filepath.Join(s.dir, "one")
	if err := mkdir(out); err != nil {
		return err
	}
	const work = "one message of " + small + ", to a file"
	count, end, err := s.throughRelay()
	if err != nil {
		return err
	}
	defer end()
	c, err := timed(ctx, s.tool("restore", "--to", "eml:"+filepath.Join(out, "x"), "replay", guid))
	if err != nil {
		return err
	}
	addCost(t, work, s.column(), c)
	if count != nil {
		requests, answered := count()
		t.Add(work, s.column(), record.Requests, float64(requests))
		t.Add(work, s.column(), record.Read, float64(answered)/1e6)
	} else {
		t.Add(work, s.column(), record.Read, c.read)
	}
	if n, _, err := filesBelow(out, isMail); err != nil || n != 1 {
		return fmt.Errorf("%d files: %w", n, err)
	}
	return nil
}
