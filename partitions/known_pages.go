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
	for len(found) > 0 || len(entries) > 0 {
		path := firstOf(found, entries)
		if limit != "" && path > limit {
			break
		}
		var c *counted
		var e *entry
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
			if err := k.servers.add(t, &known); err != nil {
				return nil, err
			}
			out = append(out, known)
		}
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
	e, err := findJSON[entry](t, index.BackupKey(path))
	if err != nil || c == nil && e == nil {
		return false, err
	}
	_, there := k.join(c, e)
	return there, nil
}

// someAfter returns at most knownAtOnce values. end is the last path if there are more.
func someAfter(t *index.Txn, prefix index.Key, after string) (list []atPath, end string, err error) {
	from := prefix
	if after != "" {
		from = append(append(slices.Clip(prefix), after...), 0)
	}
	for kv, err := range t.Range(prefix, from) {
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
func (k *knownPages) join(c *counted, e *entry) (Known, bool) {
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
