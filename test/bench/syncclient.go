package main

import (
	"context"
	"net"
	"os"
	"path/filepath"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// realClient pushes the mail of a Cyrus with its own sync_client. The source is the spool of a
// sync_server that backup_replay has filled.
func realClient(ctx context.Context, l *lab, t *record.Table, _ int) error {
	steps := []struct {
		work string
		mail
	}{
		{"5,000 x 5 KB", mail{source: "gen:5000:5k", user: "small"}},
		{"100 x 1 MB", mail{source: "gen:100:1M", user: "big"}},
	}
	return l.once(ctx, subject{kind: replica, build: l.newest()}, setup{}, func(source *server) error {
		for _, x := range steps {
			if _, err := l.push(ctx, source, x.mail); err != nil {
				return err
			}
		}
		source.stop()
		for _, sub := range l.subjects(replica, debian, dirStore, minio) {
			err := l.once(ctx, sub, setup{}, func(s *server) error {
				for _, x := range steps {
					for _, work := range []string{x.work, x.work + ", nothing new"} {
						if err := l.syncClient(ctx, t, source, s, work, x.user); err != nil {
							return err
						}
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// syncClient runs sync_client once.
func (l *lab) syncClient(ctx context.Context, t *record.Table, source, s *server, work, user string) error {
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(source.conf)
	if err != nil {
		return err
	}
	conf := filepath.Join(source.dir, "client.conf")
	// by default sync_client tries IMAP first
	text := string(b) + "sync_host: " + host + "\nsync_port: " + port + "\nsync_try_imap: no\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return err
	}
	before, _, err := s.cpu()
	if err != nil {
		return err
	}
	c, err := timed(ctx, source.foreign(filepath.Join(l.cyrus, "sync_client"), "-C", conf, "-o", "-u", user))
	if err != nil {
		return err
	}
	after, _, err := s.cpu()
	if err != nil {
		return err
	}
	t.Add(work, s.column(), record.Wall, c.wall)
	t.Add(work, s.column(), record.ServerCPU, after-before)
	t.Add(work, s.column(), record.ClientCPU, c.cpu)
	return nil
}
