package partitions

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/index"
)

// Known is what the index knows about a backup: the view of this host. Commits of other hosts are
// in it once this host has opened the backup again, or after the next census.
type Known struct {
	Partition string `json:"partition"`
	Path      string `json:"path"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	// Bytes and Changed are as in repository.Summary. Bytes 0: the backup exists, and the index
	// knows nothing else.
	Bytes   int64     `json:"bytes,omitempty"`
	Changed time.Time `json:"changed,omitzero"`
}

// Known returns the backups of a partition in the order of their keys in the bucket. The error is
// ErrNoCensus if some may be missing.
func (s *Set) Known(partition string) (out []Known, err error) {
	err = s.index.View(func(t *index.Txn) error {
		census, err := s.lastCensus(t, partition)
		if err != nil {
			return err
		}
		for kv, err := range t.Range(index.SummaryKey(partition, ""), nil) {
			if err != nil {
				return err
			}
			var c counted
			if err := json.Unmarshal(kv.Value, &c); err != nil {
				return err
			}
			path := string(kv.Key[len(index.SummaryKey(partition, "")):])
			out = append(out, Known{Partition: partition, Path: path, Kind: c.Kind, Name: c.Name, Bytes: c.Own.Bytes, Changed: c.Own.Changed})
		}
		out, err = mergeEntries(t, partition, census, out)
		return err
	})
	slices.SortFunc(out, func(a, b Known) int { return strings.Compare(a.Path+"/", b.Path+"/") })
	return out, err
}

// mergeEntries replaces what a census has found by what the daemon knows since then, and adds the
// backups that it has created since. A backup without a census is otherwise gone from the bucket.
func mergeEntries(t *index.Txn, partition string, census time.Time, known []Known) ([]Known, error) {
	counted := len(known) // sorted by path, like the entries
	i := 0
	for kv, err := range t.Range(index.BackupPrefix(), nil) {
		if err != nil {
			return nil, err
		}
		var e entry
		if err := json.Unmarshal(kv.Value, &e); err != nil {
			return nil, err
		}
		path := index.PathOf(kv.Key)
		for i < counted && known[i].Path < path {
			i++
		}
		there := i < counted && known[i].Path == path
		switch {
		case e.Partition != partition:
			if there && e.Own.Since.After(census) {
				known[i].Path = "" // moved since
			}
		case there:
			if err := known[i].update(t, &e); err != nil {
				return nil, err
			}
		case e.Own.Since.After(census):
			k := Known{Partition: partition, Path: path, Kind: e.Kind, Name: e.Name}
			if e.Own.isOf(e.Number) {
				k.Bytes, k.Changed = e.Own.Bytes, e.Own.Changed
			}
			known = append(known, k)
		}
	}
	return slices.DeleteFunc(known, func(k Known) bool { return k.Path == "" }), nil
}

// update replaces the values of a census that are older than the index.
func (k *Known) update(t *index.Txn, e *entry) error {
	if e.Rebuilding {
		return nil
	}
	if e.Own.isOf(e.Number) {
		k.Bytes, k.Changed = e.Own.Bytes, e.Own.Changed
		return nil
	}
	c, err := readCounted(t, k.Partition, k.Path)
	if err == nil && c != nil && c.Own.Number < e.Number {
		k.Bytes, k.Changed = 0, time.Time{}
	}
	return err
}
