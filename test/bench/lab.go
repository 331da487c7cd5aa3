package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// lab is what all workloads of a run share.
type lab struct {
	options
	dir      string
	builds   []build // two for a comparison, the older one first
	sasl     *saslauthd
	log      io.Writer
	began    time.Time
	count    int
	maildirs map[string]string // Maildirs by source
}

// openLab makes the directory of a run. bins are the directories of the builds.
func openLab(o options, log io.Writer, bins ...build) (*lab, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{options: o, dir: dir, log: log, began: time.Now(), maildirs: map[string]string{}}
	if err := l.prepare(bins); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return l, nil
}

func (l *lab) prepare(bins []build) (err error) {
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return err
	}
	for _, b := range bins {
		// Programs that run as another user need a copy that this user can access.
		to := filepath.Join(l.dir, "bin"+strings.Trim(b.suffix, ", "))
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		for _, p := range []string{"backupd", "backup_replay", "ctl_backups", "cyr_backup", "restore"} {
			if err := install(filepath.Join(b.dir, p), filepath.Join(to, p)); err != nil {
				return err
			}
		}
		l.builds = append(l.builds, build{b.suffix, to})
	}
	l.sasl, err = listenSASL(filepath.Join(l.dir, "mux"))
	return err
}

func (l *lab) close() error {
	l.sasl.close()
	return os.RemoveAll(l.dir)
}

// progress prints a line with the time since the start.
func (l *lab) progress(format string, args ...any) {
	fmt.Fprintf(l.log, "%s  %s\n", time.Since(l.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// once starts a server, and removes it after the work.
func (l *lab) once(ctx context.Context, sub subject, set setup, work func(*server) error) error {
	s, err := l.start(ctx, sub, set)
	if err != nil {
		return err
	}
	defer s.remove()
	if err := work(s); err != nil {
		return fmt.Errorf("%s: %w", sub.column(), err)
	}
	return nil
}

// maildir returns a Maildir with the mail of a source, which our own restore has written.
func (l *lab) maildir(ctx context.Context, source string) (string, error) {
	if dir := l.maildirs[source]; dir != "" {
		return dir, nil
	}
	dir := filepath.Join(l.dir, fmt.Sprintf("mail%d", len(l.maildirs)))
	err := l.once(ctx, subject{dirStore, l.newest()}, setup{}, func(s *server) error {
		if _, err := l.push(ctx, s, mail{source: source}); err != nil {
			return err
		}
		if err := mkdir(dir); err != nil {
			return err
		}
		_, err := timed(ctx, s.tool("restore", "--to", "maildir:"+dir, "replay", "-a"))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("write a Maildir: %w", err)
	}
	l.maildirs[source] = dir
	return dir, nil
}

// isMail distinguishes the messages in a Maildir, a sync_server's spool or our eml files from
// other files.
func isMail(name string) bool {
	return strings.HasSuffix(name, ".") || strings.HasSuffix(name, ".eml") || strings.HasPrefix(name, "1") && strings.Contains(name, ",") ||
		strings.Contains(name, ":2,")
}

// workload is a table of the document.
type workload struct {
	name  string
	table record.Table
	// run measures one repetition of every subject, in turns. rep counts from 0.
	run func(ctx context.Context, l *lab, t *record.Table, rep int) error
}
