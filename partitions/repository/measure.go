package repository

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Measured is how large a backup is.
type Measured struct {
	Compressed   int64     // bytes in the bucket: its own objects, and its part of packs
	Uncompressed int64     // bytes of the messages that are held
	Compactable  int64     // of these, the bytes of those that are still wanted
	Newest       uint64    // number of the newest commit; 0 = there is none
	Time         time.Time // its store time
}

// Measure measures a backup from its bucket. Messages that were expunged more than
// retention ago, or whose mailbox was deleted then, are not wanted; retention 0 wants all.
// Of a pack it reads the directory alone.
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

// packedSize is what a chunk takes in its pack: of frames that it shares, its part. A
// chunk in the log is counted there.
func packedSize(ctx context.Context, o *history.Objects, m *history.Mem, c history.ChunkID) (int64, error) {
	places, err := m.Places(c)
	if err != nil || len(places) == 0 || !strings.HasPrefix(places[0].Object, "packs/") {
		return 0, err
	}
	_, e, err := o.Entry(ctx, places[0])
	if history.IsDamage(err) {
		return 0, nil // for verify to tell
	}
	if err != nil || e.Raw <= 0 {
		return e.Len, err
	}
	return e.Len * min(e.Size, e.Raw) / e.Raw, nil
}
