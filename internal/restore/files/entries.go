package files

import (
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// entry is a message in messages.ndjson: the data that its file cannot hold.
type entry struct {
	File         string             `json:"file"`
	UID          uint32             `json:"uid"`
	GUID         string             `json:"guid"`
	Size         int64              `json:"size"`
	InternalDate time.Time          `json:"internaldate"`
	Flags        []dlist.JSONString `json:"flags"`
}

func entryOf(m *restore.Message, size int64) entry {
	e := entry{File: fmt.Sprintf("%010d-%s.eml", m.UID, m.GUID), UID: m.UID, GUID: m.GUID.String(), Size: size,
		InternalDate: time.Unix(m.InternalDate, 0).UTC(), Flags: []dlist.JSONString{}}
	for _, f := range m.Flags {
		e.Flags = append(e.Flags, dlist.JSONString(f))
	}
	return e
}

// numbered returns another file name for a message whose first choice is taken.
func numbered(m *restore.Message, n int) string {
	return fmt.Sprintf("%010d-%s-%d.eml", m.UID, m.GUID, n)
}
