package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// manyUsers measures a site: first syncs, and the tools for all users, with the daemon running
// and from the bucket alone.
func manyUsers(ctx context.Context, l *lab, t *record.Table, _ int) error {
	m := mail{source: "gen:100:3k", users: l.users, connections: 8}
	first := fmt.Sprintf("%s users x 100 x 3 KB over 8 connections", count(l.users))
	for _, sub := range l.subjects(dirStore, minio) {
		err := l.once(ctx, sub, setup{}, func(s *server) error {
			for _, work := range []string{first, nothingNew} {
				p, err := l.push(ctx, s, m)
				if err != nil {
					return err
				}
				p.add(t, work, s)
			}
			if err := askTools(ctx, t, s, "daemon running"); err != nil {
				return err
			}
			s.stop()
			if err := askTools(ctx, t, s, "from the bucket"); err != nil {
				return err
			}
			return l.reindexAll(ctx, t, s, s.column())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	listAll   = "ctl_backups list, "
	verifyAll = "ctl_backups verify -q -A, "
)

func askTools(ctx context.Context, t *record.Table, s *server, how string) error {
	for _, x := range []struct {
		work string
		args []string
	}{{listAll, []string{"list"}}, {verifyAll, []string{"verify", "-q", "-A"}}} {
		c, err := timed(ctx, s.tool("ctl_backups", x.args...))
		if err != nil {
			return err
		}
		addCost(t, x.work+how, s.column(), c)
	}
	return nil
}

// reindexAll rebuilds the index of a stopped server from the bucket.
func (l *lab) reindexAll(ctx context.Context, t *record.Table, s *server, column string) error {
	if err := os.RemoveAll(s.index()); err != nil {
		return err
	}
	c, err := timed(ctx, s.tool("ctl_backups", "reindex", "-A"))
	if err != nil {
		return err
	}
	addCost(t, "ctl_backups reindex -A", column, c)
	return nil
}

// rebuild measures the index of many backups with 10,000 messages each.
func rebuild(ctx context.Context, l *lab, t *record.Table, rep int) error {
	if rep > 0 && !l.full {
		return nil
	}
	backups := l.users / 10
	if l.full {
		backups = l.users
	}
	m := mail{source: "gen:10000:600", users: backups, connections: 8}
	for _, sub := range l.subjects(dirStore) {
		err := l.once(ctx, sub, setup{}, func(s *server) error {
			if _, err := l.push(ctx, s, m); err != nil {
				return err
			}
			s.stop()
			return l.reindexAll(ctx, t, s, fmt.Sprintf("%s backups x 10,000 messages%s", count(backups), s.suffix))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
