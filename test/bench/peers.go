package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// peer is a backup program for files.
type peer struct {
	name                  string
	create, save, restore []string // command lines; save gets a name at the end; restore runs in the destination
	env                   []string
}

const (
	firstBackup = "first backup of " + small
	nothingNew  = "nothing new"
	toMaildir   = "restore to files"
)

// peers returns the programs with a repository below dir, which has the mail in dir/mail.
func peers(dir, mail string) []peer {
	repo := func(name string) string { return filepath.Join(dir, name) }
	return []peer{
		{name: "restic", create: []string{"restic", "init"}, save: []string{"restic", "backup", mail, "--tag"},
			restore: []string{"restic", "restore", "latest", "--target", "."},
			env:     []string{"RESTIC_PASSWORD=" + password, "RESTIC_REPOSITORY=" + repo("restic"), "RESTIC_CACHE_DIR=" + repo("restic-cache")}},
		{name: "borg", create: []string{"borg", "init", "--encryption", "none"},
			save:    []string{"sh", "-c", `exec borg create --compression zstd,1 "::$1" "$0"`, mail},
			restore: []string{"borg", "extract", "::first"},
			env:     []string{"BORG_REPO=" + repo("borg"), "BORG_BASE_DIR=" + repo("borg-base"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes"}},
	}
}

func (p peer) command(args []string, at string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), p.env...), at
	return cmd
}

// againstPeers measures a backup of mail and its restore to files: the floor, restic, borg, ours.
func againstPeers(ctx context.Context, l *lab, t *record.Table, _ int) error {
	dir, err := l.maildir(ctx, smallMail)
	if err != nil {
		return err
	}
	if !l.comparing() {
		f, err := l.floor(ctx, dir)
		if err != nil {
			return err
		}
		t.Add(firstBackup, "floor", record.Wall, f.One)
		t.Add(firstBackup, "floor", record.CPU, f.Processor)
		t.Add(firstBackup, "floor", record.Kept, float64(f.Kept)/1e6)
		if err := l.measurePeers(ctx, t, dir); err != nil {
			return err
		}
	}
	for _, sub := range l.subjects(dirStore, minio) {
		if err := l.once(ctx, sub, setup{}, func(s *server) error { return l.likePeers(ctx, t, s) }); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) measurePeers(ctx context.Context, t *record.Table, mail string) error {
	dir, err := os.MkdirTemp(l.dir, "peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, p := range peers(dir, mail) {
		if err := p.measure(ctx, t, dir); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (p peer) measure(ctx context.Context, t *record.Table, dir string) error {
	if _, err := timed(ctx, p.command(p.create, dir)); err != nil {
		return err
	}
	for i, work := range []string{firstBackup, nothingNew} {
		c, err := timed(ctx, p.command(append(slices.Clip(p.save), []string{"first", "second"}[i]), dir))
		if err != nil {
			return err
		}
		addCost(t, work, p.name, c)
		if work == firstBackup {
			n, err := sizeOf(filepath.Join(dir, p.name))
			if err != nil {
				return err
			}
			t.Add(work, p.name, record.Kept, float64(n)/1e6)
		}
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(out)
	c, err := timed(ctx, p.command(p.restore, out))
	if err != nil {
		return err
	}
	addCost(t, toMaildir, p.name, c)
	return wantMail(out, smallN)
}

// likePeers does the same with our server. Its CPU is the server's, without the client's.
func (l *lab) likePeers(ctx context.Context, t *record.Table, s *server) error {
	for _, work := range []string{firstBackup, nothingNew} {
		p, err := l.push(ctx, s, mail{source: smallMail})
		if err != nil {
			return err
		}
		addCost(t, work, s.column(), cost{wall: p.Seconds, cpu: p.serverCPU, peak: p.peak})
		if work == firstBackup {
			t.Add(work, s.column(), record.Kept, float64(p.kept)/1e6)
			t.Add(work, s.column(), record.ClientCPU, p.clientCPU)
		}
	}
	out := filepath.Join(s.dir, "out")
	if err := mkdir(out); err != nil {
		return err
	}
	c, err := timed(ctx, s.tool("restore", "--to", "maildir:"+out, "replay", "-a"))
	if err != nil {
		return err
	}
	addCost(t, toMaildir, s.column(), c)
	return wantMail(out, smallN)
}

// wantMail checks the number of messages below a directory.
func wantMail(dir string, want int) error {
	n, _, err := filesBelow(dir, isMail)
	if err == nil && n != want {
		err = fmt.Errorf("%s has %d messages, want %d", dir, n, want)
	}
	return err
}
