package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

const (
	thousand = "1,000 mailboxes with one message"
	getUser  = "GET USER with 1,000 mailboxes"
)

// manyMailboxes measures a user with 1,000 mailboxes.
func manyMailboxes(ctx context.Context, l *lab, t *record.Table, _ int) error {
	dir := filepath.Join(l.dir, "folders")
	for i := range 1000 {
		d := filepath.Join(dir, fmt.Sprintf("box%03d", i))
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		text := fmt.Sprintf("From: a@example.org\r\nSubject: %d\r\n\r\n", i)
		if err := os.WriteFile(filepath.Join(d, "1.eml"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, sub := range l.subjects(dirStore, minio) {
		err := l.once(ctx, sub, setup{}, func(s *server) error {
			for _, work := range []string{thousand, nothingNew} {
				p, err := l.push(ctx, s, mail{source: dir, user: anne})
				if err != nil {
					return err
				}
				p.add(t, work, s)
				if work == nothingNew {
					t.Add(getUser, s.column(), record.WallMs, p.Commands["GET USER"].Total.P50)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
