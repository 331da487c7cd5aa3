package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// peer is a backup program for files.
type peer struct {
	name, column          string
	create, save, restore []string // command lines; save gets a name at the end; restore runs in the destination
	env                   []string
	kept                  func(context.Context) (int64, error) // bytes in the repository
}

const (
	firstBackup = "first backup of " + small
	nothingNew  = "nothing new"
	toMaildir   = "restore to files"
	untilSynced = "restore to files, and sync"

	resticOnMinio = "restic, MinIO"
)

// restic returns the program with a repository.
func restic(dir, mail, repository string) peer {
	return peer{name: "restic", column: "restic", create: []string{"restic", "init"}, save: []string{"restic", "backup", mail, "--tag"},
		restore: []string{"restic", "restore", "latest", "--target", "."},
		env:     []string{"RESTIC_PASSWORD=" + password, "RESTIC_REPOSITORY=" + repository, "RESTIC_CACHE_DIR=" + filepath.Join(dir, "restic-cache")}}
}

// peers returns the programs with a repository below dir, which has the mail in dir/mail.
func peers(dir, mail string) []peer {
	repo := func(name string) string { return filepath.Join(dir, name) }
	list := []peer{
		restic(dir, mail, repo("restic")),
		{name: "borg", column: "borg", create: []string{"borg", "init", "--encryption", "none"},
			save:    []string{"sh", "-c", `exec borg create --compression zstd,1 "::$1" "$0"`, mail},
			restore: []string{"borg", "extract", "::first"},
			env:     []string{"BORG_REPO=" + repo("borg"), "BORG_BASE_DIR=" + repo("borg-base"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes"}},
	}
	for i := range list {
		list[i].kept = func(context.Context) (int64, error) { return sizeOf(repo(list[i].name)) }
	}
	return list
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
		if err := errors.Join(l.measurePeers(ctx, t, dir), l.measureOnMinio(ctx, t, dir)); err != nil {
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
		if err := l.measurePeer(ctx, t, p, dir); err != nil {
			return fmt.Errorf("%s: %w", p.column, err)
		}
	}
	return nil
}

// measureOnMinio does the same with restic on MinIO; borg has no object storage.
func (l *lab) measureOnMinio(ctx context.Context, t *record.Table, mail string) error {
	if l.minio == "" {
		return nil
	}
	dir, err := os.MkdirTemp(l.dir, "peers-")
	if err != nil {
		return err
	}
	s := &server{subject: subject{kind: minio}, dir: dir}
	defer s.remove()
	if err := l.startStore(ctx, s); err != nil {
		return err
	}
	p := restic(dir, mail, "s3:http://"+s.endpoint+"/"+bucket)
	p.column, p.env, p.kept = resticOnMinio, append(p.env, s.env...), s.kept
	if err := l.measurePeer(ctx, t, p, dir); err != nil {
		return fmt.Errorf("%s: %w", p.column, err)
	}
	return nil
}

func (l *lab) measurePeer(ctx context.Context, t *record.Table, p peer, dir string) error {
	if _, err := timed(ctx, p.command(p.create, dir)); err != nil {
		return err
	}
	for i, work := range []string{firstBackup, nothingNew} {
		c, err := timed(ctx, p.command(append(slices.Clip(p.save), []string{"first", "second"}[i]), dir))
		if err != nil {
			return err
		}
		addCost(t, work, p.column, c)
		if work == firstBackup {
			n, err := p.kept(ctx)
			if err != nil {
				return err
			}
			t.Add(work, p.column, record.Kept, float64(n)/1e6)
		}
	}
	return l.toFiles(ctx, t, p.column, func(out string) *exec.Cmd { return p.command(p.restore, out) })
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
	return l.toFiles(ctx, t, s.column(), func(out string) *exec.Cmd {
		return s.tool("restore", "--to", "maildir:"+out, "replay", "-a")
	})
}

// toFiles measures a restore to an empty directory, and how long it takes until its files are on
// the disk: our restore waits for that itself. Nothing else is to be written meanwhile.
func (l *lab) toFiles(ctx context.Context, t *record.Table, column string, restore func(out string) *exec.Cmd) error {
	out, err := l.place()
	if err != nil {
		return err
	}
	unix.Sync()
	c, err := timed(ctx, restore(out))
	if err != nil {
		return err
	}
	ended := time.Now()
	unix.Sync()
	addCost(t, toMaildir, column, c)
	t.Add(untilSynced, column, record.Wall, c.wall+time.Since(ended).Seconds())
	return wantMail(out, smallN)
}

// place makes a directory for many files, which stays until the lab is closed: a file system
// without a journal looks at the inodes that were removed in the last minutes before it uses
// another one (ext4's recently_deleted), so that whoever comes next would take ten times as long.
func (l *lab) place() (string, error) {
	l.count++
	dir := filepath.Join(l.dir, fmt.Sprintf("files%d", l.count))
	return dir, mkdir(dir)
}

// wantMail checks the number of messages below a directory.
func wantMail(dir string, want int) error {
	n, _, err := filesBelow(dir, isMail)
	if err == nil && n != want {
		err = fmt.Errorf("%s has %d messages, want %d", dir, n, want)
	}
	return err
}
