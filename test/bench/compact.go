package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/test/bench/record"
)

const (
	siteDays = 20
	siteMany = 500 // messages a day and user

	passFirst  = "first night: all commits are merged"
	passSame   = "again, nothing has changed"
	passFew    = "again, a new commit in one backup of 20"
	passMerge  = "three days later: these commits are merged"
	passLater  = "after three weeks: retention of every backup"
	passNights = "one of the next six nights, without retention"
	passPacks  = "these nights together"
)

// compactSite measures ctl_backups compact on a partition of generated backups with 10,000 messages
// each. Their mail is deleted after two days.
func compactSite(ctx context.Context, l *lab, t *record.Table, rep int) error {
	if rep > 0 && !l.full {
		return nil
	}
	programs, err := l.programsAtDays()
	if err != nil {
		return err
	}
	for _, sub := range l.subjects(minio, dirStore) {
		if sub.build != l.newest() {
			continue // the program for tests is built from this source only
		}
		err := l.once(ctx, sub, setup{idle: true}, func(s *server) error {
			d, err := newDays(s.dir)
			if err != nil {
				return err
			}
			c := &compacting{lab: l, server: s, days: d, programs: programs, table: t}
			return c.run(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compacting is the measurement of one store.
type compacting struct {
	lab *lab
	*server
	days     *days
	programs string // directory
	table    *record.Table
	count    func() traffic // of all passes; nil: not known
	idle     traffic        // of a pass with nothing to do

	rewritten, written, removed int64 // bytes of packs, in all passes
}

func (c *compacting) run(ctx context.Context) error {
	store, err := c.open(ctx)
	if err != nil {
		return err
	}
	x, err := newSite(ctx, store, c.days, c.lab.backups)
	for day := 0; err == nil && day < siteDays; day++ {
		if err = x.deliver(ctx, day, siteMany); err == nil {
			err = c.days.pass(1)
		}
	}
	if err == nil {
		err = c.days.pass(2) // so that all but the newest commits can be merged
	}
	if err != nil {
		return err
	}
	kept, err := c.kept(ctx)
	if err != nil {
		return err
	}
	c.table.Add("generated backups", c.column(), record.Kept, float64(kept)/1e6)
	c.lab.progress("  %s: %d backups, %d MB", c.column(), len(x.users), kept/1e6)
	if err := c.nights(ctx, x); err != nil {
		return err
	}
	for _, u := range []string{"user0000", fmt.Sprintf("user%04d", len(x.users)-1)} {
		if _, err := timed(ctx, c.atDays(c.days, filepath.Join(c.programs, "ctl_backups"), "verify", u)); err != nil {
			return err
		}
	}
	return closeStore(store)
}

// nights runs the passes. Retention of 28 days has nothing to remove in the first ones.
func (c *compacting) nights(ctx context.Context, x *site) error {
	count, end, err := c.throughRelay()
	if err != nil {
		return err
	}
	defer end()
	c.count = count
	without, with := c.conf, c.conf+".retention"
	b, err := os.ReadFile(without)
	if err == nil {
		err = os.WriteFile(with, append(b, "backup_retention: 28d\nbackup_tripwire: no\n"...), 0o644)
	}
	if err != nil {
		return err
	}
	c.conf = with
	few := max(len(x.users)/20, 1)
	if err := c.touch(ctx, x, len(x.users)); err != nil { // so that the next one does not let the former be merged
		return err
	}
	if err := errors.Join(c.pass(ctx, passFirst, len(x.users)), c.pass(ctx, "", 0), c.pass(ctx, passSame, 0)); err != nil {
		return err
	}
	if err := errors.Join(c.touch(ctx, x, few), c.pass(ctx, passFew, few), c.days.pass(3), c.pass(ctx, passMerge, few), c.days.pass(21), c.pass(ctx, passLater, 0)); err != nil {
		return err
	}
	c.conf = without
	for range 6 {
		if err := errors.Join(c.days.pass(1), c.pass(ctx, passNights, 0)); err != nil {
			return err
		}
	}
	reclaimed := c.removed + c.rewritten - c.written
	for m, v := range map[record.Metric]float64{record.Rewritten: float64(c.written) / 1e6, record.Reclaimed: float64(reclaimed) / 1e6, record.Rewriting: ratio(float64(c.written), float64(c.rewritten-c.written))} {
		c.table.Add(passPacks, c.column(), m, v)
	}
	return nil
}

// touch commits a small message to some of the users.
func (c *compacting) touch(ctx context.Context, x *site, few int) error {
	for i := range few {
		u := x.users[i*len(x.users)/few]
		if err := x.commit(ctx, u, []siteMail{x.generate(0, i, int(u.uid)+1)}, nil, nil); err != nil {
			return err
		}
	}
	return c.own()
}

// pass runs compact and measures it. changed is the number of backups that have changed since the
// last pass.
func (c *compacting) pass(ctx context.Context, work string, changed int) error {
	var before traffic
	if c.count != nil {
		before = c.count()
	}
	cost, err := timed(ctx, c.atDays(c.days, filepath.Join(c.programs, "ctl_backups"), "compact", "-A", "--ndjson"))
	if err != nil {
		return err
	}
	if work == "" { // it only remembers what the former has changed
		return nil
	}
	addCost(c.table, work, c.column(), cost)
	c.lab.progress("  %s: %s: %.1f s, %.0f MiB", c.column(), work, cost.wall, cost.peak)
	if c.count != nil {
		c.addTraffic(work, c.count().since(before), changed)
	}
	return c.addPacks(cost.out)
}

func (c *compacting) addTraffic(work string, n traffic, changed int) {
	t, column := c.table, c.column()
	t.Add(work, column, record.Gets, float64(n.gets))
	switch {
	case work == passSame:
		c.idle = n
	case changed < c.lab.backups && changed > 0:
		t.Add(work, column, record.GetsEach, float64(n.gets-c.idle.gets)/float64(changed))
	}
	t.Add(work, column, record.Lists, float64(n.lists))
	t.Add(work, column, record.Puts, float64(n.puts))
	t.Add(work, column, record.Deletes, float64(n.deletes))
}

// addPacks adds the packs that a pass reports to have rewritten and removed.
func (c *compacting) addPacks(out []byte) error {
	for line := range bytes.Lines(out) {
		var what struct{ Command, Status string }
		if err := json.Unmarshal(line, &what); err != nil {
			return fmt.Errorf("%w: %s", err, line)
		}
		if what.Command != "collect" {
			continue
		}
		if what.Status != "ok" {
			return fmt.Errorf("collect: %s", what.Status)
		}
		var r struct{ Removed, Rewritten, Written struct{ Bytes int64 } }
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		c.rewritten, c.written, c.removed = c.rewritten+r.Rewritten.Bytes, c.written+r.Written.Bytes, c.removed+r.Removed.Bytes
	}
	return nil
}

// open opens the store of the server, for the generator.
func (c *compacting) open(ctx context.Context) (objstore.Store, error) {
	if c.kind == minio {
		return miniostore.Open(objstore.Location{Scheme: objstore.MinIO, Endpoint: c.endpoint, Bucket: bucket},
			miniostore.Options{Credentials: &objstore.Credentials{AccessKey: minioUser, SecretKey: minioSecret}})
	}
	return dirstore.OpenWith(ctx, filepath.Join(c.dir, "store"), dirstore.Options{})
}

func closeStore(s objstore.Store) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// own gives the files of a directory store to the user of the servers.
func (c *compacting) own() error {
	uid, gid, err := cyrusIDs()
	if err != nil || c.kind == minio {
		return err
	}
	return filepath.WalkDir(filepath.Join(c.dir, "store"), func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, uid, gid)
		}
		return err
	})
}
