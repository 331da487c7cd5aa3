package main

import (
	"context"
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
