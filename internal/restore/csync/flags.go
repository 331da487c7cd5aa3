package csync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// flagTries is how often flags are computed again because the mailbox has changed.
const flagTries = 5

// flags resets the flags of existing messages and restores no message.
func (d *Destination) flags(ctx context.Context, c *conn, f *restore.Folder) error {
	there := d.named(f.Name)
	if there == nil {
		return fmt.Errorf("%s: %w: no flags to set", f.Name, errAbsent)
	}
	var err error
	for range flagTries {
		w := &flagWork{d: d, c: c, f: f}
		if err = w.run(ctx, there.Name); !errors.Is(err, cyrus.ErrSyncChanged) {
			return err
		}
	}
	return err
}

// errAbsent means that the server does not have the mailbox.
var errAbsent = errors.New("the server has no such mailbox")

// flagWork is one attempt at one mailbox.
type flagWork struct {
	d       *Destination
	c       *conn
	f       *restore.Folder
	head    *cyrus.Mailbox
	records []*cyrus.Record
	changed []*cyrus.Record
}

func (w *flagWork) run(ctx context.Context, name string) error {
	fields, err := w.c.GetFullMailbox(ctx, name, func(r *cyrus.Record) error {
		w.records = append(w.records, r)
		return nil
	})
	if err != nil {
		return err
	}
	if w.head, err = cyrus.ParseReply(fields); err != nil {
		return err
	}
	before := cyrus.NewCRC()
	for _, r := range w.records {
		before.Add(r)
	}
	if err := w.match(); err != nil {
		return err
	}
	w.d.rep.Say("%s: flags of %s reset", w.f.Name, english.Plural(len(w.changed), "message", ""))
	if w.d.opt.DryRun || len(w.changed) == 0 {
		return nil
	}
	after := cyrus.NewCRC()
	for _, r := range w.records {
		after.Add(r)
	}
	modseq := w.head.HighestModSeq + 1
	head := with(fields, dlist.P("HIGHESTMODSEQ", dlist.N(modseq)),
		dlist.P("SYNC_CRC", dlist.N(uint64(after.Basic))), dlist.P("SYNC_CRC_ANNOT", dlist.N(uint64(after.Annot))))
	// The server refuses if the mailbox has changed in the meantime.
	since := cyrus.Since{Set: true, ModSeq: w.head.HighestModSeq, CRC: before.Basic, CRCAnnot: before.Annot}
	return w.c.ApplyMailbox(ctx, head, since, func(yield func(*cyrus.Record, error) bool) {
		for _, r := range w.changed {
			if !yield(r, nil) {
				return
			}
		}
	})
}

// match finds the messages of the backup among the records: by uid if it is the same mailbox,
// otherwise by GUID.
func (w *flagWork) match() error {
	same := w.f.From.UniqueID == w.head.UniqueID && num(w.f.From.Fields, "UIDVALIDITY") == uint64(w.head.UIDValidity)
	byUID, byGUID := map[uint32]int{}, map[cyrus.GUID][]int{}
	for i, r := range w.records {
		if !r.Expunged() {
			byUID[r.UID] = i
			byGUID[r.GUID] = append(byGUID[r.GUID], i)
		}
	}
	var size int64
	var others []*restore.Message
	for _, ref := range w.f.Messages {
		m, err := w.d.src.Message(ref)
		if err != nil {
			return err
		}
		size += int64(m.Size)
		if i, ok := byUID[m.UID]; ok && same && w.records[i].GUID == m.GUID {
			w.set(i, m.Flags)
			byGUID[m.GUID] = slices.DeleteFunc(byGUID[m.GUID], func(j int) bool { return j == i })
			continue
		}
		others = append(others, m)
	}
	for _, m := range others { // an earlier restore gave these new uids
		if l := byGUID[m.GUID]; len(l) > 0 {
			w.set(l[0], m.Flags)
			byGUID[m.GUID] = l[1:]
		}
	}
	w.d.rep.There(len(w.f.Messages), size)
	slices.SortFunc(w.changed, func(a, b *cyrus.Record) int { return int(int64(a.UID) - int64(b.UID)) })
	return nil
}

func (w *flagWork) set(i int, flags []string) {
	if sameFlags(w.records[i].Flags, flags) {
		return
	}
	r := *w.records[i]
	if w.d.opt.Verbose > 1 || w.d.opt.DryRun && w.d.opt.Verbose > 0 {
		w.d.rep.Say("  uid %d: (%s) instead of (%s)", r.UID, strings.Join(flags, " "), strings.Join(r.Flags, " "))
	}
	r.Flags = flags
	r.ModSeq = w.head.HighestModSeq + 1
	r.LastUpdated = time.Now().Unix()
	w.records[i] = &r
	w.changed = append(w.changed, &r)
}

func sameFlags(a, b []string) bool {
	fold := func(flags []string) []string {
		var out []string
		for _, f := range flags {
			out = append(out, strings.ToLower(f))
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	return slices.Equal(fold(a), fold(b))
}
