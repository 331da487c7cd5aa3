package repository

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Measured is the size of a backup.
type Measured struct {
	Compressed   int64     // bytes in the bucket: the backup's objects, and its part of packs
	Uncompressed int64     // bytes of all stored messages
	Compactable  int64     // bytes of the messages that retention keeps
	Newest       uint64    // number of the newest commit, or 0
	Time         time.Time // store time of the newest commit
}

// Measure measures a backup from its bucket. Retention keeps a message unless it was
// expunged, or its mailbox deleted, more than retention ago; retention 0 keeps all. Of a
// pack Measure reads only the directory.
func (f *Found) Measure(ctx context.Context, now time.Time, retention time.Duration) (Measured, error) {
	var out Measured
	for info, err := range f.Partition.Store.List(ctx, BackupPrefix(f.Path), "") {
		if err != nil {
			return out, err
		}
		out.Compressed += info.Size
	}
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if errors.Is(err, history.ErrBeforeFirst) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	defer m.Close()
	out.Time, out.Newest = m.Time(), m.Tip().Number
	wanted, err := wantedMessages(m, now, retention)
	if err != nil {
		return out, err
	}
	return out, f.measureMessages(ctx, m, wanted, &out)
}

func wantedMessages(m *history.Mem, now time.Time, retention time.Duration) (map[cyrus.GUID]struct{}, error) {
	wanted := map[cyrus.GUID]struct{}{}
	gone := func(t time.Time) bool { return retention > 0 && !t.IsZero() && t.Before(now.Add(-retention)) }
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
				wanted[r.GUID] = struct{}{}
			}
		}
	}
	return wanted, nil
}

func (f *Found) measureMessages(ctx context.Context, m *history.Mem, wanted map[cyrus.GUID]struct{}, out *Measured) error {
	objects := history.NewObjects(f.Partition.Store, 0)
	done := map[cyrus.GUID]struct{}{}
	for msg, err := range m.Messages() {
		if err != nil {
			return err
		}
		if _, twice := done[msg.GUID]; twice {
			continue
		}
		if msg, err = m.Message(msg.GUID); err != nil {
			return err
		}
		done[msg.GUID] = struct{}{}
		if msg.Missing {
			continue
		}
		out.Uncompressed += msg.Size
		if _, ok := wanted[msg.GUID]; ok {
			out.Compactable += msg.Size
		}
		for _, c := range msg.Chunks {
			n, err := packedSize(ctx, objects, m, c)
			if err != nil {
				return err
			}
			out.Compressed += n
		}
	}
	return nil
}

// packedSize returns the stored bytes of a chunk in its pack: its share, if it shares a
// frame. It returns 0 for a chunk in the log, which Measure has already counted.
func packedSize(ctx context.Context, o *history.Objects, m *history.Mem, c history.ChunkID) (int64, error) {
	places, err := m.Places(c)
	if err != nil || len(places) == 0 || !strings.HasPrefix(places[0].Object, "packs/") {
		return 0, err
	}
	_, e, err := o.Entry(ctx, places[0])
	if history.IsDamage(err) {
		return 0, nil // verify reports the damage
	}
	if err != nil || e.Raw <= 0 {
		return e.Len, err
	}
	return e.Len * min(e.Size, e.Raw) / e.Raw, nil
}
