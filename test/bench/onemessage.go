package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"path/filepath"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

const (
	oneToFile  = "one message of 20,001 x 5 KB, to a file"
	oneToCyrus = "the same, to a Cyrus that has all others"
	oneMore    = "gen:20001:5k" // smallMail and one message
)

// oneMessage restores a single message by its GUID.
func oneMessage(ctx context.Context, l *lab, t *record.Table, _ int) error {
	dir, err := l.maildir(ctx, oneMore)
	if err != nil {
		return err
	}
	guid, err := guidOfLast(dir)
	if err != nil {
		return err
	}
	for _, sub := range l.subjects(dirStore, minio) {
		err := l.once(ctx, sub, setup{}, func(s *server) error {
			if _, err := l.push(ctx, s, mail{source: oneMore}); err != nil {
				return err
			}
			s.stop()
			if err := restoreToFile(ctx, t, s, guid); err != nil {
				return err
			}
			return l.restoreToCyrus(ctx, t, s, guid)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// guidOfLast returns the GUID of the message that smallMail does not have.
func guidOfLast(dir string) (string, error) {
	mails, err := readMail(dir)
	if err != nil {
		return "", err
	}
	for _, m := range mails {
		if bytes.Contains(m, fmt.Appendf(nil, "Subject: generated %d\r\n", smallN)) {
			return fmt.Sprintf("%x", sha1.Sum(m)), nil
		}
	}
	return "", fmt.Errorf("%s has no message %d", dir, smallN)
}

func restoreToFile(ctx context.Context, t *record.Table, s *server, guid string) error {
	out := filepath.Join(s.dir, "one")
	if err := mkdir(out); err != nil {
		return err
	}
	if err := restoreOne(ctx, t, s, oneToFile, "--to", "eml:"+filepath.Join(out, "x"), "replay", guid); err != nil {
		return err
	}
	return wantMail(out, 1)
}

// restoreToCyrus restores into a sync_server with the other messages.
func (l *lab) restoreToCyrus(ctx context.Context, t *record.Table, s *server, guid string) error {
	return l.once(ctx, subject{kind: replica, build: s.build}, setup{}, func(to *server) error {
		if _, err := l.push(ctx, to, mail{source: smallMail}); err != nil {
			return err
		}
		if err := restoreOne(ctx, t, s, oneToCyrus, to.addr, "-u", "replay", guid); err != nil {
			return err
		}
		return wantMail(filepath.Join(to.dir, "spool"), smallN+1)
	})
}

// restoreOne measures restore, and what it reads from MinIO, or from files.
func restoreOne(ctx context.Context, t *record.Table, s *server, work string, args ...string) error {
	count, end, err := s.throughRelay()
	if err != nil {
		return err
	}
	defer end()
	c, err := timed(ctx, s.tool("restore", args...))
	if err != nil {
		return err
	}
	addCost(t, work, s.column(), c)
	if count == nil {
		t.Add(work, s.column(), record.Read, c.read)
		return nil
	}
	n := count()
	t.Add(work, s.column(), record.Requests, float64(n.gets+n.lists))
	t.Add(work, s.column(), record.Read, float64(n.answered)/1e6)
	return nil
}
