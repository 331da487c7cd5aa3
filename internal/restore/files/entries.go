package files

import (
	"encoding/json"
	"fmt"
	"time"

	"backupd/internal/restore"
	"backupd/replication/dlist"
)

// entry is a message in messages.ndjson: what its file cannot say.
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

// index is the name of the file that lists a directory's messages.
const index = "messages.ndjson"

// accountJSON is what belongs to no mailbox, for people and programs.
func accountJSON(a *restore.Account) ([]byte, error) {
	type script struct {
		Name   string `json:"name"`
		Active bool   `json:"active"`
	}
	out := struct {
		Subscriptions []string `json:"subscriptions"`
		Scripts       []script `json:"scripts"`
		Quotas        any      `json:"quotas,omitempty"`
		Seen          any      `json:"seen,omitempty"`
		Annotations   any      `json:"annotations,omitempty"`
	}{Subscriptions: []string{}, Scripts: []script{}, Quotas: a.Quotas, Seen: a.Seen, Annotations: a.Annotations}
	for _, s := range a.Subs {
		out.Subscriptions = append(out.Subscriptions, s.Name)
	}
	for _, s := range a.Scripts {
		name := restore.ScriptName(s.Filename)
		active := len(a.Active) > 0 && restore.ScriptName(a.Active[0].Filename) == name
		out.Scripts = append(out.Scripts, script{name, active})
	}
	b, err := json.MarshalIndent(out, "", "  ")
	return append(b, '\n'), err
}
