package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// partitionTime limits the checks of a partition.
	partitionTime = time.Minute
	// retryTime limits how long a request is repeated.
	retryTime = 3 * time.Second
	// directoryRoom is what the disk of a directory with backups should have free.
	directoryRoom = 256 << 20
	// mostFiles limits how many files in a directory are checked for their owner.
	mostFiles = 5000
)

// partitionCheck checks one partition, beside others.
type partitionCheck struct {
	*checkup
	report
	name  string
	where string // file:line
	at    objstore.Location
	id    string // of its repository
}

// partitions checks all partitions at the same time.
func (c *checkup) partitions(ctx context.Context) []Finding {
	names, at, err := stores.Locations(c.conf)
	r := &report{check: "partitions"}
	if err != nil {
		for _, e := range flat(err) {
			where, text, fix := located(e)
			if where == "" {
				where, fix = c.Config, "backuppartition-default: /var/spool/backup"
			}
			r.fail(where, fix, "%s", text)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, partitionTime)
	defer cancel()
	checks := make([]*partitionCheck, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		checks[i] = &partitionCheck{checkup: c, name: name, at: at[name], where: c.conf.Origin("backuppartition-" + name).String(),
			report: report{check: "partition " + name}}
		all.Go(func() { checks[i].run(ctx) })
	}
	all.Wait()
	first := map[string]string{}
	for _, p := range checks {
		if other := first[p.id]; other != "" && p.id != "" {
			p.fail(p.where, "give each partition its own location", "the location is the same repository as partition %s", other)
		}
		first[p.id] = p.name
		r.all = append(r.all, p.all...)
	}
	return r.all
}

func (p *partitionCheck) run(ctx context.Context) {
	if p.at.Scheme == objstore.Dir {
		p.directory(ctx)
		return
	}
	p.bucket(ctx)
}

// directory checks a directory with backups, without opening it for writing.
func (p *partitionCheck) directory(ctx context.Context) {
	n := len(p.all)
	dir := p.at.Path
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.missing(dir)
		return
	case err != nil || !info.IsDir():
		p.fail(p.where, p.repairOf(dir), "%s is not a directory that user %s can use: %v", dir, p.user.Name, err)
		return
	}
	switch err := accessible(dir, read|write|enter); {
	case errors.Is(err, unix.EROFS):
		p.fail(dir, "mount -o remount,rw the file system, and look into the log of the kernel", "the file system is read-only")
		return
	case err != nil:
		p.fail(dir, "chown -R "+p.user.owner()+" "+dir+" && chmod 700 "+dir, "user %s cannot use it: %v", p.user.Name, err)
		return
	case info.Mode().Perm()&0o005 != 0:
		p.warn(dir, "chmod 700 "+dir, "every user of this host can look into it (mode %04o)", info.Mode().Perm())
	}
	p.overlaps(dir)
	p.disk(dir)
	if p.checkup.ownFiles(&p.report, dir) {
		p.repository(ctx)
	}
	if p.sound(n) {
		p.ok(dir, "user %s can use it", p.user.Name)
	}
}

// missing is about a directory that backupd would have to make.
func (p *partitionCheck) missing(dir string) {
	parent := filepath.Dir(dir)
	fix := "install -d -o " + p.user.Name + " -g " + p.user.Group + " -m 700 " + dir
	if _, err := os.Stat(parent); err != nil {
		p.fail(p.where, "mount its disk, or "+fix, "%s does not exist, and neither does %s", dir, parent)
	} else if err := accessible(parent, write|enter); err != nil {
		p.fail(p.where, fix, "%s does not exist, and user %s cannot make it: %v", dir, p.user.Name, err)
	} else {
		p.ok(dir, "backupd will make it")
	}
}

// overlaps finds other data of this host in the partition, or around it.
func (p *partitionCheck) overlaps(dir string) {
	inside := func(a, b string) bool { return a == b || strings.HasPrefix(a, strings.TrimSuffix(b, "/")+"/") }
	index := filepath.Clean(p.conf.String("backup_index_path"))
	if inside(index, dir) {
		p.fail(p.conf.Origin("backup_index_path").String(), "backup_index_path: {configdirectory}/backup-index", "the index %s is inside the partition", index)
	}
	_, at, _ := stores.Locations(p.conf) // errors were reported
	for name, other := range at {
		if name != p.name && other.Scheme == objstore.Dir && inside(dir, other.Path) {
			p.fail(p.where, "put the partitions beside each other", "%s is inside partition %s (%s)", dir, name, other.Path)
		}
	}
	for _, key := range p.conf.Keys("partition-") {
		mail, _ := p.conf.Lookup(key)
		if device(mail) == device(dir) && device(dir) != 0 {
			p.warn(p.where, "use another disk, or a bucket", "the backups are on the same file system as the mail of this host (%s: %s)", key, mail)
			return
		}
	}
}

// device is the number of the file system of a file; 0 = unknown.
func device(path string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0
	}
	return st.Dev
}

func (p *partitionCheck) disk(dir string) {
	if s, err := p.Space(dir); err == nil && s.Memory {
		p.fail(dir, "use a directory on a disk", "the file system is in memory: a restart of the host loses all backups")
	}
	p.room(&p.report, dir, directoryRoom, "make room, or add a partition: ctl_backups move moves users there")
}

// repository reads repository.json.
func (p *partitionCheck) repository(ctx context.Context) {
	part, closer, err := stores.OpenOne(ctx, p.name, p.at, p.storeOptions())
	if err != nil {
		p.fail(p.where, "correct the location", "%v", err)
		return
	}
	defer closer.Close()
	before := p.Now()
	info, err := part.Store.Stat(ctx, repository.Key)
	if !info.StoreTime.IsZero() {
		p.clock(info.StoreTime.Sub(before))
	}
	repo, err2 := repository.ReadInfo(ctx, part.Store)
	switch {
	case errors.Is(err2, objstore.ErrNotExist):
		p.ok(p.at.String(), "no repository yet: backupd begins it with the first mail")
	case err2 != nil:
		p.fail(p.at.String(), "ctl_backups verify --repair -A", "%v", errors.Join(err, err2))
	default:
		p.id = repo.ID
		if p.at.Scheme == objstore.Dir {
			p.capabilities(repo.Capabilities)
		}
	}
}

func (p *partitionCheck) storeOptions() stores.Options {
	return stores.Options{CredentialsFile: p.conf.String("backup_credentials_file"), Retry: retryTime, Hang: 10 * time.Second, ReadOnly: true}
}

// clock compares the clock of the store with that of this host.
func (p *partitionCheck) clock(skew time.Duration) {
	const fix = "correct the wrong clock: timedatectl set-ntp true"
	switch skew = skew.Round(time.Second); {
	case skew.Abs() > 15*time.Minute:
		p.fail(p.at.String(), fix, "the clock of the store and that of this host differ by %v: S3 refuses requests, and compact removes nothing", skew)
	case skew.Abs() > time.Minute:
		p.warn(p.at.String(), fix, "the clock of the store and that of this host differ by %v", skew)
	}
}

// capabilities checks what a probe has found.
func (p *partitionCheck) capabilities(c probe.Capabilities) {
	notes := strings.Join(c.Notes, "; ")
	switch {
	case !c.Conditional() && !p.conf.Switch("backup_exclusive"):
		p.fail(p.at.String(), "another endpoint, or backup_exclusive: yes if this is the only backup host", "the store does not honour conditional puts: %s", notes)
	case !c.Range || !c.ListOrder:
		p.fail(p.at.String(), "use another endpoint or store", "the store is not suitable for backups: %s", notes)
	case !c.Suffix || !c.IfMatch || !c.StoreTime:
		p.warn(p.at.String(), "none: backupd works without it", "the store lacks something: %s", notes)
	}
}

// ownFiles reports whether the daemon's user can use all files below a directory: a tool that root
// ran may have made some.
func (c *checkup) ownFiles(r *report, dir string) bool {
	n, bad := 0, ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if n++; n > mostFiles {
			return filepath.SkipAll
		}
		if err == nil {
			err = usable(path)
		}
		if err != nil {
			bad = path
			return err
		}
		return nil
	})
	if err != nil {
		r.fail(bad, "chown -R "+c.user.owner()+" "+dir, "user %s cannot use it: %v", c.user.Name, err)
	}
	return err == nil
}

// existing returns the nearest directory that exists.
func existing(path string) string {
	for path != filepath.Dir(path) {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}
