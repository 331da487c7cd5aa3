package partitions

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/index"
)

// knownPages joins what a census has found with what the daemon knows since then. Both are in the
// index in the order of the bucket.
type knownPages struct {
	partition string
	census    time.Time
	servers   reach
	after     string // the last key that was joined
	end       bool
}

// listedEntry is the part of an entry that a list shows. To decode all of 100,000 entries takes longer.
type listedEntry struct {
	Partition  string     `json:"partition"`
	Kind       string     `json:"kind"`
	Name       string     `json:"name"`
	ID         uint64     `json:"id"`
	Number     uint64     `json:"number"`
	Rebuilding bool       `json:"rebuilding"`
	Own        ownObjects `json:"own"`
}

// atPath is a value of the index about the backup with this path, which ends with a slash.
type atPath struct {
	path  string
	value []byte
}

// next returns the next backups.
func (k *knownPages) next(t *index.Txn) (out []Known, err error) {
	found, limit, err := someAfter(t, index.SummaryPrefix(k.partition), k.after)
	if err != nil {
		return nil, err
	}
	entries, end, err := someAfter(t, index.BackupPrefix(), k.after)
	if err != nil {
		return nil, err
	}
	// What follows the end of one list may be in a part of the other that was not read yet.
	if end != "" && (limit == "" || end < limit) {
		limit = end
	}
	var keys []string // of out
	for len(found) > 0 || len(entries) > 0 {
		path := firstOf(found, entries)
		if limit != "" && path > limit {
			break
		}
		var c *counted
		var e *listedEntry
		if found, err = take(found, path, &c); err != nil {
			return nil, err
		}
		if entries, err = take(entries, path, &e); err != nil {
			return nil, err
		}
		if known, there := k.join(c, e); there {
			known.Partition, known.Path = k.partition, strings.TrimSuffix(path, "/")
			if e != nil {
				known.id, known.indexed = e.ID, e.Partition == k.partition
			}
			out, keys = append(out, known), append(keys, path)
		}
	}
	if err := k.servers.add(t, out, keys, k.after); err != nil {
		return nil, err
	}
	k.after, k.end = limit, limit == ""
	return out, nil
}

// has reports whether the partition has the backup with this path.
func (k *knownPages) has(t *index.Txn, path string) (bool, error) {
	c, err := findJSON[counted](t, index.SummaryKey(k.partition, path))
	if err != nil {
		return false, err
	}
	e, err := findJSON[listedEntry](t, index.BackupKey(path))
	if err != nil || c == nil && e == nil {
		return false, err
	}
	_, there := k.join(c, e)
	return there, nil
}

// someAfter returns at most knownAtOnce values. end is the last path if there are more.
func someAfter(t *index.Txn, prefix index.Key, after string) (list []atPath, end string, err error) {
	for kv, err := range t.Range(prefix, beginAfter(prefix, after)) {
		if err != nil {
			return nil, "", err
		}
		if len(list) == knownAtOnce {
			return list, list[len(list)-1].path, nil
		}
		list = append(list, atPath{string(kv.Key[len(prefix):]), bytes.Clone(kv.Value)})
	}
	return list, "", nil
}

// beginAfter returns the key from which the paths after one begin; "" = all.
func beginAfter(prefix index.Key, after string) index.Key {
	if after == "" {
		return prefix
	}
	return append(append(slices.Clip(prefix), after...), 0)
}

// matching returns the values of the index about backups with these paths, which end with a slash, and nil
// for those without. It reads the values after a path in their order: that is faster than to look each one
// up.
func matching[T any](t *index.Txn, prefix index.Key, paths []string, after string) ([]*T, error) {
	out := make([]*T, len(paths))
	i := 0
	for kv, err := range t.Range(prefix, beginAfter(prefix, after)) {
		if err != nil {
			return nil, err
		}
		path := kv.Key[len(prefix):]
		for i < len(paths) && paths[i] < string(path) {
			i++
		}
		switch {
		case i == len(paths):
			return out, nil
		case paths[i] != string(path):
			continue
		}
		out[i] = new(T)
		if err := json.Unmarshal(kv.Value, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func firstOf(a, b []atPath) string {
	if len(b) == 0 || len(a) > 0 && a[0].path < b[0].path {
		return a[0].path
	}
	return b[0].path
}

// take decodes the first value of the list, if it has this path.
func take[T any](list []atPath, path string, v **T) ([]atPath, error) {
	if len(list) == 0 || list[0].path != path {
		return list, nil
	}
	*v = new(T)
	return list[1:], json.Unmarshal(list[0].value, *v)
}

// join returns the facts about a backup, and whether the partition has it. Either value may be
// nil. A backup that the census has not found is gone, unless the index got it later.
func (k *knownPages) join(c *counted, e *listedEntry) (Known, bool) {
	since := e != nil && !e.Own.Since.Before(k.census)
	here := e != nil && e.Partition == k.partition
	switch {
	case c == nil && here && since:
		out := Known{Kind: e.Kind, Name: e.Name}
		if e.Own.isOf(e.Number) {
			out.Bytes, out.Changed = e.Own.Bytes, e.Own.Changed
		}
		return out, true
	case c == nil, !here && since: // the latter was moved away
		return Known{}, false
	}
	out := Known{Kind: c.Kind, Name: c.Name, Bytes: c.Own.Bytes, Changed: c.Own.Changed, Held: c.Held, Unreadable: c.Unreadable}
	switch {
	case !here || e.Rebuilding:
	case e.Own.isOf(e.Number):
		out.Bytes, out.Changed = e.Own.Bytes, e.Own.Changed
	case c.Own.Number < e.Number: // older than the index
		out.Bytes, out.Changed = 0, time.Time{}
	}
	return out, true
}
