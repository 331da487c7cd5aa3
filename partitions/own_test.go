package partitions

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// A commit is added up only if its size and time are certain; otherwise the values are known to be
// those of an earlier commit.
func TestNoteOwn(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	was := ownObjects{Number: 4, Bytes: 100, Changed: now.Add(-time.Hour)}
	good := history.Header{Number: 5, Time: now, Clock: now}
	ahead := history.Header{Number: 5, Time: now.Add(100 * 24 * time.Hour), Clock: now}
	for name, c := range map[string]struct {
		h    history.Header
		size int64
		a    applied
		e    entry
		want ownObjects
	}{
		"mail":                {good, 20, applied{mail: true}, entry{}, ownObjects{Number: 5, Bytes: 120, Changed: now}},
		"a lock":              {good, 20, applied{}, entry{}, ownObjects{Number: 5, Bytes: 120, Changed: was.Changed}},
		"record blocks":       {good, 20, applied{mail: true, blocks: true}, entry{}, was},
		"an unknown size":     {good, 0, applied{mail: true}, entry{}, was},
		"an implausible time": {ahead, 20, applied{mail: true}, entry{}, was},
		"a rebuild":           {good, 20, applied{mail: true}, entry{Rebuilding: true}, was},
	} {
		c.e.Own = was
		if err := c.e.noteOwn(nil, "user/anne", c.h, c.size, c.a, now); err != nil || c.e.Own != c.want {
			t.Errorf("%s: %+v, %v, want %+v", name, c.e.Own, err, c.want)
		}
	}
}
