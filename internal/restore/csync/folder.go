package csync

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// folder decides how to restore a folder, and restores it.
func (d *Destination) folder(ctx context.Context, c *conn, f *restore.Folder) error {
	there, err := d.existing(ctx, c, f)
	if err != nil {
		return err
	}
	w := &work{d: d, c: c, f: f, there: there, list: f.Messages, owners: d.ownersOf(f), crc: cyrus.NewCRC()}
	if head := (cyrus.Mailbox{Type: text(f.From.Fields, "MBOXTYPE")}); head.Intermediate() {
		return w.intermediate(ctx)
	}
	if there != nil {
		if err := w.leaveOut(ctx); err != nil {
			return err
		}
	}
	w.partition = d.partition(w)
	exact := d.opt.KeepUIDs && !f.Merged && (there == nil || w.continues)
	if err := w.plan(exact); err != nil {
		return err
	}
	w.announce(exact)
	if d.opt.DryRun {
		return nil
	}
	if w.there != nil {
		w.lastUID = w.there.LastUID
	}
	switch {
	case there != nil && len(w.list) == 0 && (!w.continues || uint64(w.there.LastUID) >= num(f.From.Fields, "LAST_UID")):
	case exact:
		err = w.exact(ctx)
	default:
		err = w.append(ctx)
	}
	if err != nil {
		return err
	}
	return w.annotations(ctx)
}

// existing returns the destination's mailbox for a folder. A deleted mailbox with the uniqueid to
// keep is renamed back, so that nothing has to be sent.
func (d *Destination) existing(ctx context.Context, c *conn, f *restore.Folder) (*cyrus.Mailbox, error) {
	there := d.named(f.Name)
	if there != nil || !d.opt.KeepUIDs || f.Merged {
		return there, nil
	}
	m := d.holder(f.From.UniqueID)
	if m == nil || !d.opt.Undelete || m.Deleted() || !cyrus.IsDeleted(m.Name, d.opt.DeletedPrefix) {
		return nil, nil
	}
	d.rep.Say("%s: renamed back from %s", f.Name, m.Name)
	if !d.opt.DryRun {
		err := c.ApplyRename(ctx, cyrus.Rename{Old: m.Name, New: f.Name, Partition: m.Partition, UIDValidity: m.UIDValidity})
		if err != nil {
			return nil, err
		}
		boxes, err := c.GetMailboxes(ctx, []string{f.Name})
		if err != nil {
			return nil, err
		}
		if len(boxes) != 1 {
			return nil, fmt.Errorf("%s is missing after the rename from %s", f.Name, m.Name)
		}
		d.renamed(m, f.Name)
		d.know(boxes[0])
		return boxes[0], nil
	}
	return m, nil
}

// partition returns the partition for uploads: the mailbox's own one, because messages are linked,
// not copied (imap/sync_support.c, sync_append_copyfile).
func (d *Destination) partition(w *work) string {
	switch {
	case w.there != nil:
		return w.there.Partition
	case d.opt.Partition != "":
		return d.opt.Partition
	}
	return text(w.f.From.Fields, "PARTITION")
}

// work is the restore of one folder.
type work struct {
	d         *Destination
	c         *conn
	f         *restore.Folder
	there     *cyrus.Mailbox // nil = none yet
	partition string
	list      []restore.Ref // messages to send
	known     int           // messages that are already present
	// continues means that the existing mailbox is the beginning of the folder, uid for uid, so
	// that the rest can follow with its uids.
	continues bool
	// annotated are the existing mailbox annotations.
	annotated map[annotationKey]bool
	owners    owners
	fitting   *fitting

	next  []restore.Ref // the batch after the current one
	ahead readAhead     // of next

	// Progress so far.
	lastUID uint32 // highest uid at the server
	proven  bool   // prove has run
	refused []refusedRef

	// For a mailbox that keeps its uids.
	head       []dlist.Pair
	end, final uint32 // the last uid of the list, and LAST_UID in the end
	made       bool   // create has run
	crc        cyrus.CRC
}

// announce reports what will be, or would be, done.
func (w *work) announce(exact bool) {
	if w.there != nil && len(w.list) == 0 {
		w.d.rep.Say("%s: nothing to do, %s already present", w.f.Name, english.Plural(w.known, "message", ""))
		return
	}
	var size int64
	var each []*restore.Message
	for _, ref := range w.list {
		if m, err := w.d.src.Message(ref); err == nil {
			size += int64(m.Size)
			if w.d.opt.Verbose > 1 || w.d.opt.DryRun && w.d.opt.Verbose > 0 {
				each = append(each, m)
			}
		}
	}
	how := ""
	switch {
	case w.there == nil && exact:
		how = "created with its uids: "
	case w.there == nil:
		how = "created: "
	}
	if w.there == nil && w.aclNote() != "" {
		how = strings.TrimSuffix(how, ": ") + w.aclNote() + ": "
	}
	w.d.rep.Say("%s: %s%s added (%s), %d already present", w.f.Name, how, english.Plural(len(w.list), "message", ""), humanize.IBytes(uint64(size)), w.known)
	if w.d.opt.DryRun {
		w.d.rep.Added(len(w.list), size)
	}
	for _, m := range each {
		w.d.rep.Say("  + uid %d %s, %d bytes, %s", m.UID, m.GUID, m.Size, date(m.InternalDate))
	}
}

// batches splits the list into the batches of one command each.
func (w *work) batches() [][]restore.Ref {
	var out [][]restore.Ref
	for b := range slices.Chunk(w.list, perBatch) {
		out = append(out, b)
	}
	if w.d.opt.NewestFirst {
		out = out[:0]
		for rest := w.list; len(rest) > 0; {
			n := max(0, len(rest)-perBatch)
			out = append(out, rest[n:])
			rest = rest[:n]
		}
	}
	return out
}
