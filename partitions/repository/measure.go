package repository

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Measured is the size of a backup.
type Measured struct {
	Compressed   int64     // bytes in the bucket: the backup's objects, and its part of packs
	Uncompressed int64     // bytes of all stored messages
	Compactable  int64     // bytes of the messages that retention keeps
	Own          int64     // of Compressed: the backup's objects
	Log          int64     // of Own: commits and segments
	Checkpoints  int64     // of Own: checkpoints, and the blocks that they name
	Newest       uint64    // number of the newest commit, or 0
	Time         time.Time // store time of the newest commit
	// Steady means that only a change of the backup changes Compactable, not the passing of time.
	Steady bool
	// Held is as in Summary.
	Held bool
}

// Bodies returns the stored bytes of the messages in packs, also of those that other backups name.
func (m *Measured) Bodies() int64 { return m.Compressed - m.Own }

// Measure measures a backup from its bucket. Retention keeps a message unless it was
// expunged, or its mailbox deleted, more than retention ago; retention 0 keeps all. Of a
// pack Measure reads only the directory.
func (f *Found) Measure(ctx context.Context, now time.Time, retention time.Duration) (Measured, error) {
	var out Measured
	var own Account
	log := logKeys{}
	for info, err := range f.Partition.Store.List(ctx, BackupPrefix(f.Path), "") {
		if err != nil {
			return out, err
		}
		if info.Key == HoldsKey(f.Path) {
			out.Held = true
			continue
		}
		own.add(info, f.Path, time.Time{})
		log.add(info.Key, f.Path)
	}
	out.Own, out.Log, out.Checkpoints = own.Total().Bytes, own.Log.Bytes, own.Checkpoints.Bytes
	out.Compressed = out.Own
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if errors.Is(err, history.ErrBeforeFirst) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	defer m.Close()
	out.Time, out.Newest = m.Time(), m.Tip().Number
	if out.Steady, err = steady(m, retention); err != nil {
		return out, err
	}
	wanted, err := wantedMessages(m, now, retention)
	if err != nil {
		return out, err
	}
	chunks, err := measureMessages(m, wanted, &out)
	if err != nil {
		return out, err
	}
	sizes := make([]int64, len(chunks.sorted))
	err = f.eachPacked(ctx, m, chunks, log, func(chunk int, _ history.Place, bytes int64) error {
		out.Compressed += bytes - sizes[chunk]
		sizes[chunk] = bytes
		return nil
	})
	return out, err
}

// steady reports whether nothing is deleted that retention could remove later.
func steady(m *history.Mem, retention time.Duration) (bool, error) {
	for box, err := range m.Mailboxes() {
		if err != nil {
			return false, err
		}
		if retention > 0 && (!box.Deleted.IsZero() || box.Live != box.Records) {
			return false, nil
		}
	}
	return true, nil
}

// wantedMessages returns the prefixes of the messages that retention keeps; nil = all. It
// reads records only if there are expunged records or deleted mailboxes.
func wantedMessages(m *history.Mem, now time.Time, retention time.Duration) (*prefixes, error) {
	gone := func(t time.Time) bool { return retention > 0 && !t.IsZero() && t.Before(now.Add(-retention)) }
	all, records := true, 0
	for box, err := range m.Mailboxes() {
		if err != nil {
			return nil, err
		}
		all = all && !gone(box.Deleted) && (retention == 0 || box.Live == box.Records)
		records += box.Records
	}
	if all {
		return nil, nil
	}
	wanted := newPrefixes(records)
	for box, err := range m.Mailboxes() {
		if err != nil {
			return nil, err
		}
		if gone(box.Deleted) {
			continue
		}
		for r, err := range m.Records(box.UniqueID, 0) {
			if err != nil {
				return nil, err
			}
			if r.Expunged == 0 || !gone(time.Unix(r.Expunged, 0)) {
				wanted.add(r.GUID[:])
			}
		}
	}
	wanted.sort()
	return wanted, nil
}

// measureMessages adds up the messages. It returns the chunks of their bodies, a chunk as
// often as messages name it.
func measureMessages(m *history.Mem, wanted *prefixes, out *Measured) (*prefixes, error) {
	n, err := m.Arrivals()
	if err != nil {
		return nil, err
	}
	once := *out
	guids := newPrefixes(n)
	chunks, err := addMessages(m.Messages(), wanted, &once, n, guids)
	if err != nil {
		return nil, err
	}
	if guids.sort(); guids.repeated() { // rare, and takes another look at every message
		chunks, err = addMessages(m.DistinctMessages(), wanted, out, n, nil)
		return chunks, err
	}
	*out = once
	return chunks, nil
}

// addMessages adds messages up. It adds their GUIDs to guids, unless that is nil.
func addMessages(messages iter.Seq2[*history.MessageState, error], wanted *prefixes, out *Measured, room int, guids *prefixes) (*prefixes, error) {
	chunks := newPrefixes(room)
	for msg, err := range messages {
		if err != nil {
			return nil, err
		}
		if guids != nil {
			guids.add(msg.GUID[:])
		}
		if msg.Missing {
			continue
		}
		out.Uncompressed += msg.Size
		if wanted == nil || wanted.count(msg.GUID[:]) > 0 {
			out.Compactable += msg.Size
		}
		for _, c := range msg.Chunks {
			chunks.add(c[:])
		}
	}
	chunks.sort()
	return chunks, nil
}
