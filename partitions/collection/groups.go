package collection

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// group is the part of a list that is about one backup.
type group struct {
	prefix string
	infos  []objstore.Info // nil: too many to keep
	uses   bool
	info   objstore.Info // backup.json, if there is one
	copied bool          // a copy of it is being put, or is incomplete
	newest uint64        // highest number in the log
	commit uint64        // highest number of a single commit
	tip    objstore.Info // that commit
	first  time.Time     // when the oldest of its objects was put, except for leases, holds and uses; zero = it has nothing else
	last   time.Time     // when the newest was put
	print  [32]byte
	err    error // the key is unknown, or the list has ended with an error
}

// mostGrouped is how many objects of a backup are kept. A longer one is listed again if it
// has to be read.
const mostGrouped = 1000

// groups lists the backups below a prefix, in order.
func groups(ctx context.Context, s objstore.Store, prefix string) iter.Seq[group] {
	return func(yield func(group) bool) {
		var g *grouping
		for info, err := range s.List(ctx, prefix, "") {
			if err != nil {
				yield(group{err: err})
				return
			}
			if strings.HasPrefix(info.Key, asidePacks) {
				continue
			}
			of, ok := prefixOf(info.Key)
			if g != nil && (!ok || of != g.prefix) {
				if !yield(g.end()) {
					return
				}
				g = nil
			}
			if !ok {
				if !yield(unknownKey(info.Key)) {
					return
				}
				continue
			}
			if g == nil {
				g = &grouping{group{prefix: of, infos: []objstore.Info{}}, newFingerprint()}
			}
			g.add(info)
		}
		if g != nil {
			yield(g.end())
		}
	}
}

// createdAge is when a backup has its first commit at the latest.
const createdAge = 24 * time.Hour

var errLogless = errors.New("its log is missing. If it never had a commit, set it aside (ctl_backups set-aside)")

// logless reports whether a backup has lost its log, or never had one for a day.
func (g *group) logless(now time.Time) bool {
	return g.newest == 0 && g.info.Key != "" && g.info.Modified.Add(createdAge).Before(now) && strings.HasPrefix(g.prefix, backupPrefix)
}

func unknownKey(key string) group {
	return group{prefix: key, err: fmt.Errorf("%s: this program does not know such objects: remove it if it belongs to no backup, or use a newer version", key)}
}

// grouping is a group that is being listed.
type grouping struct {
	group
	sum fingerprint
}

func (g *grouping) add(info objstore.Info) {
	o := parseObject(g.prefix, info)
	g.sum.add(o)
	g.uses = g.uses || o.kind == kindUses
	if o.rel == infoName {
		g.info = info
	}
	g.copied = g.copied || o.kind == kindCopying
	if o.kind == kindLog {
		g.newest = max(g.newest, o.to)
	}
	if o.single() && o.to > g.commit {
		g.commit, g.tip = o.to, info
	}
	g.age(o)
	if g.infos != nil {
		g.infos = append(g.infos, info)
	}
	if len(g.infos) > mostGrouped {
		g.infos = nil
	}
}

// age notes when an object was put, unless it says nothing about the backup.
func (g *grouping) age(o object) {
	if o.passing() {
		return
	}
	if g.first.IsZero() || o.Modified.Before(g.first) {
		g.first = o.Modified
	}
	if o.Modified.After(g.last) {
		g.last = o.Modified
	}
}

func (g *grouping) end() group {
	g.print = g.sum.value()
	return g.group
}
