package cyrbackup

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// jsonState writes everything in the backup except messages, one JSON object per line, for
// programs that compare, convert or search.
func jsonState(c *command) error {
	w := &lines{w: c.out}
	for m, err := range c.mem.Mailboxes() {
		if err != nil {
			return err
		}
		w.line(map[string]any{
			"type": "mailbox", "uniqueid": text(m.UniqueID), "name": text(m.Name), "fields": object(m.Fields),
			"deleted": moment(m.Deleted), "moved_to": m.MovedTo, "resync": m.Resync, "live": m.Live, "records": m.Records,
		})
		for r, err := range c.mem.Records(m.UniqueID, 0) {
			if err != nil {
				return err
			}
			if err := c.record(w, m, r); err != nil {
				return err
			}
		}
	}
	for _, kind := range history.ItemKinds() {
		for i, err := range c.mem.Items(kind) {
			if err != nil {
				return err
			}
			if i.Deleted.IsZero() {
				w.item(i.Event)
			}
		}
	}
	return w.err
}

func (c *command) record(w *lines, m *history.MailboxState, r *history.RecordState) error {
	msg, err := c.mem.Message(r.GUID)
	if err != nil {
		return err
	}
	annotations := []map[string]any{}
	for _, a := range r.Annotations {
		var v any
		if a.Value != nil {
			v = text(*a.Value)
		}
		annotations = append(annotations, map[string]any{"entry": text(a.Entry), "userid": text(a.UserID), "value": v})
	}
	var expunged any
	if r.Expunged != 0 {
		expunged = timeOf(r.Expunged).UTC().Format(time.RFC3339)
	}
	flags := []dlist.JSONString{}
	for _, f := range r.Flags {
		flags = append(flags, text(f))
	}
	line := map[string]any{
		"type": "record", "uniqueid": text(m.UniqueID), "uid": r.UID, "modseq": fmt.Sprint(r.ModSeq),
		"last_updated": r.LastUpdated, "flags": flags, "internaldate": r.InternalDate, "size": r.Size,
		"guid": r.GUID.String(), "annotations": annotations, "expunged": expunged,
		"missing": msg == nil || msg.Missing,
	}
	if msg != nil && !msg.Erased.IsZero() {
		line["erased"] = msg.Erased.UTC().Format(time.RFC3339)
	}
	w.line(line)
	return nil
}

// lines writes objects up to the first error.
type lines struct {
	w   io.Writer
	err error
}

func (l *lines) line(v any) {
	if l.err != nil {
		return
	}
	enc := json.NewEncoder(l.w)
	enc.SetEscapeHTML(false)
	l.err = enc.Encode(v)
}

func (l *lines) item(e history.Event) {
	switch e := e.(type) {
	case *history.SubEvent:
		l.line(map[string]any{"type": "sub", "user": text(e.User), "name": text(e.Name)})
	case *history.SeenEvent:
		l.line(map[string]any{"type": "seen", "user": text(e.User), "uniqueid": text(e.UniqueID), "fields": object(e.Fields)})
	case *history.SieveEvent:
		l.line(map[string]any{"type": "sieve", "user": text(e.User), "filename": text(e.Filename), "content": text(e.Content), "guid": e.GUID.String(), "last_update": e.LastUpdate})
	case *history.SieveActiveEvent:
		l.line(map[string]any{"type": "sieve-active", "user": text(e.User), "filename": text(e.Filename)})
	case *history.QuotaEvent:
		l.line(map[string]any{"type": "quota", "root": text(e.Root), "fields": object(e.Fields)})
	case *history.AnnotationEvent:
		if life, ok := history.NotedLife(e); ok {
			l.line(map[string]any{"type": "life", "number": life.Number, "inbox": text(life.Inbox), "began": moment(life.Began)})
		} else if e.Value != nil {
			l.line(map[string]any{"type": "annotation", "name": text(e.Name), "entry": text(e.Entry), "userid": text(e.UserID), "value": text(*e.Value)})
		}
	}
}

// text is a string that may contain invalid UTF-8.
func text(s string) dlist.JSONString { return dlist.JSONString(s) }

// object converts a list of fields to a JSON object. The first of equal names counts.
func object(fields []dlist.Pair) map[string]dlist.Value {
	out := map[string]dlist.Value{}
	for _, f := range fields {
		if _, twice := out[f.Key]; !twice {
			out[f.Key] = f.Value
		}
	}
	return out
}

func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}
