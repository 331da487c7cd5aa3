package maintenance

import (
	"cmp"
	"context"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// logObject is a commit or a segment.
type logObject struct {
	from, to uint64
	segment  bool // also if it has one commit
	size     int64
	modified time.Time
}

// key returns the key of a log object.
func (o *logObject) key(backup string) string {
	if o.segment {
		return history.SegmentKey(backup, o.from, o.to)
	}
	return history.LogKey(backup, o.from)
}

type checkpointObject struct {
	number   uint64
	size     int64
	modified time.Time
}

// blocksID is the hash in the key of an object with blocks.
type blocksID [32]byte

func blocksOf(key string) (id blocksID) {
	name, _, _ := strings.Cut(path.Base(key), ".")
	if b, err := hex.DecodeString(name); err == nil {
		copy(id[:], b)
	}
	return id
}

type blocksObject struct {
	id       blocksID
	size     int64
	modified time.Time
}

// listing is the result of one LIST of a backup, without the keys.
type listing struct {
	log         []logObject // by from, then to
	checkpoints []checkpointObject
	blocks      []blocksObject // by id
	newest      uint64
	first       objstore.Info // of log[0]
}

// list lists the objects of the backup.
func (r *retainer) list(ctx context.Context) error { return r.have.read(ctx, r.store, r.f.Path) }

// read lists the objects of a backup. It ignores unknown keys.
func (l *listing) read(ctx context.Context, s objstore.Store, p string) error {
	for info, err := range s.List(ctx, repository.BackupPrefix(p), "") {
		if err != nil {
			return err
		}
		from, to, isLog := history.ParseLogKey(p, info.Key)
		number, isCheckpoint := history.ParseCheckpointKey(p, info.Key)
		switch {
		case isLog:
			segment := info.Key != history.LogKey(p, from)
			if f, t, _ := history.ParseLogKey(p, l.first.Key); len(l.log) == 0 || from < f || from == f && to < t {
				l.first = info
			}
			l.log = append(l.log, logObject{from, to, segment, info.Size, info.Modified})
			l.newest = max(l.newest, to)
		case isCheckpoint:
			l.checkpoints = append(l.checkpoints, checkpointObject{number, info.Size, info.Modified})
		case history.IsRecordsKey(p, info.Key):
			l.blocks = append(l.blocks, blocksObject{blocksOf(info.Key), info.Size, info.Modified})
		}
	}
	slices.SortFunc(l.log, func(a, b logObject) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	return nil
}

func (l *listing) checkpoint(n uint64) (checkpointObject, bool) {
	i, ok := slices.BinarySearchFunc(l.checkpoints, n, func(c checkpointObject, n uint64) int { return cmp.Compare(c.number, n) })
	if !ok {
		return checkpointObject{}, false
	}
	return l.checkpoints[i], true
}

// hasBlocks reports whether an object with blocks was listed.
func (l *listing) hasBlocks(id blocksID) bool {
	_, ok := l.findBlocks(id)
	return ok
}

func (l *listing) findBlocks(id blocksID) (i int, ok bool) {
	return slices.BinarySearchFunc(l.blocks, id, func(b blocksObject, id blocksID) int { return slices.Compare(b.id[:], id[:]) })
}

// hole returns the first number from n on that no object contains, up to the newest; 0 = none.
func (l *listing) hole(n uint64) uint64 {
	for _, o := range l.log {
		if o.from > n {
			break
		}
		n = max(n, o.to+1)
	}
	if n <= l.newest {
		return n
	}
	return 0
}

// cuts yields, ascending, the numbers up to which all objects of the log can be removed: the last
// one is whole, all are old enough, and the newest commit is in none of them. With merged, segments of
// any age are old enough, because their commits are.
func (l *listing) cuts(youngest time.Time, merged bool) (out []uint64) {
	var to uint64
	for _, o := range l.log {
		if to > 0 && o.from > to {
			out = append(out, to)
		}
		to = max(to, o.to)
		young := o.modified.IsZero() || o.modified.After(youngest)
		if young && !(merged && o.segment) || to >= l.newest {
			return out
		}
	}
	return out
}

// upTo counts the objects of the log up to a commit.
func (l *listing) upTo(cut uint64) (sum Removed) {
	for _, o := range l.log {
		if o.to <= cut {
			sum.add(o.size)
		}
	}
	return sum
}
