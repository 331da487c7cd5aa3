package drill

import (
	"cmp"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/replication/client"
)

// compare asks the server for all that was restored.
func (d *inServer) compare(ctx context.Context) error {
	err := d.Server.with(ctx, func(c *client.Client) error {
		u, err := c.GetUser(ctx, ScratchUser)
		if err != nil {
			return err
		}
		boxes := map[string]*cyrus.Mailbox{}
		for _, m := range u.Mailboxes {
			boxes[m.Name] = m
		}
		if m := boxes[scratchInbox]; m == nil || m.UniqueID != d.inbox {
			return fmt.Errorf("%s: somebody has removed or replaced the user %s meanwhile", d.Server.Name, ScratchUser)
		}
		for _, f := range d.folders {
			if of := (cyrus.Mailbox{Type: text(f.From.Fields, "MBOXTYPE")}); of.Intermediate() {
				continue
			}
			m := boxes[f.Name]
			if m == nil || !holds(m) {
				d.lacks("%s: was not restored", f.From.Name)
				continue
			}
			if m.UniqueID != f.From.UniqueID {
				return fmt.Errorf("%s: somebody has replaced the mailbox %s meanwhile", d.Server.Name, f.Name)
			}
			if err := d.mailbox(ctx, c, m, f); err != nil {
				return fmt.Errorf("%s: %w", f.From.Name, err)
			}
			d.out.Mailboxes++
		}
		d.compareUser(u)
		return nil
	})
	if d.unread != nil {
		return err
	}
	return ofServer(ctx, d.blame(err))
}

// blame returns the error of a comparison, or else the fault of the restore before, if nothing was found
// that is not its consequence.
func (d *inServer) blame(err error) error {
	switch {
	case err != nil || d.fault == nil:
		return err
	case d.out.Problems > 0:
		d.Note(d.fault.Error())
		return nil
	}
	return d.fault
}

// lacks reports an item that differs from the backup, or is not there. That can be a consequence of
// a fault of the server.
func (d *inServer) lacks(format string, args ...any) {
	if d.fault == nil {
		d.problem(format, args...)
	}
}

// message returns a record of the backup.
func (d *inServer) message(ref restore.Ref) (*restore.Message, error) {
	m, err := d.src.Message(ref)
	d.unread = cmp.Or(d.unread, err)
	return m, err
}

// mailbox compares a mailbox of the server: what the server reports, then each message.
func (d *inServer) mailbox(ctx context.Context, c *client.Client, m *cyrus.Mailbox, f *restore.Folder) error {
	x := &comparing{inServer: d, f: f, rest: f.Messages, want: cyrus.NewCRC(), bad: map[uint32]bool{}}
	before := d.out.Problems
	fields, err := c.GetFullMailbox(ctx, m.Name, x.record)
	if err != nil {
		return err
	}
	if x.foreign || number(fields, "LAST_APPENDDATE") > 0 {
		return fmt.Errorf("%s: %w", m.Name, errDelivered)
	}
	x.lost(x.rest)
	if d.out.Problems == before && !x.less {
		x.compareCRCs(number(fields, "SYNC_CRC"), number(fields, "SYNC_CRC_ANNOT"))
	}
	x.compareHead(m, &cyrus.Mailbox{Fields: fields})
	return x.bodies(ctx, c, m)
}

// comparing is the comparison of one mailbox.
type comparing struct {
	*inServer
	f       *restore.Folder
	rest    []restore.Ref // that the server has not reported so far
	want    cyrus.CRC
	memory  cyrus.CRCMemory
	bad     map[uint32]bool // uids with a problem
	more    bool            // the server has annotations that the backup does not have
	less    bool            // the server does not have all messages
	foreign bool            // the server has a message that no drill has put there
}

// lost notes messages that the server does not have.
func (x *comparing) lost(refs []restore.Ref) {
	if x.fault == nil {
		x.inServer.lost(x.f, refs)
	}
	x.less = x.less || len(refs) > 0
	for _, r := range refs {
		x.bad[r.UID] = true
	}
}

// record compares a record of the server with that of the backup.
func (x *comparing) record(r *cyrus.Record) error {
	if r.Expunged() {
		return nil
	}
	at, ok := slices.BinarySearchFunc(x.rest, r.UID, func(a restore.Ref, uid uint32) int { return cmp.Compare(a.UID, uid) })
	if !ok {
		if r.UID > x.put[x.f.From.UniqueID] {
			x.foreign = true
			return nil
		}
		x.lacks("%s uid %d: was restored twice, or is not in the mailbox", x.f.From.Name, r.UID)
		return nil
	}
	x.lost(x.rest[:at])
	m, err := x.message(x.rest[at])
	if err != nil {
		return err
	}
	x.rest = x.rest[at+1:]
	x.found++
	x.ownAnnotations(m)
	x.want.AddIn(&x.memory, &m.Record)
	if wrong := x.differences(m, r); len(wrong) > 0 {
		x.bad[m.UID] = true
		x.problem("%s uid %d (message %s): the server has other %s", x.f.From.Name, m.UID, m.GUID, strings.Join(wrong, ", "))
	}
	return nil
}

// ownAnnotations assigns the private annotations of the backup's user to the scratch user, as the restore
// does.
func (x *comparing) ownAnnotations(m *restore.Message) {
	m.Annotations = slices.Clone(m.Annotations)
	for i := range m.Annotations {
		m.Annotations[i].UserID = x.user(m.Annotations[i].UserID)
	}
}

// user returns the scratch user for the backup's user.
func (d *inServer) user(userid string) string {
	if userid != "" && userid == d.owner {
		return ScratchUser
	}
	return userid
}

func (x *comparing) differences(m *restore.Message, r *cyrus.Record) (wrong []string) {
	for _, part := range []struct {
		what    string
		differs bool
	}{
		{"bytes", m.GUID != r.GUID},
		{"size", m.Size != r.Size},
		{"date", m.InternalDate != r.InternalDate},
		{"flags", !slices.Equal(folded(m.Flags), folded(r.Flags))},
		{"modseq", m.ModSeq != r.ModSeq},
		{"time of the last change", m.LastUpdated != r.LastUpdated},
		{"annotations", !contains(r.Annotations, m.Annotations)},
	} {
		if part.differs {
			wrong = append(wrong, part.what)
		}
	}
	x.more = x.more || !contains(m.Annotations, r.Annotations)
	return wrong
}

// folded returns flags in an order and a form that can be compared.
func folded(flags []string) []string {
	out := make([]string, len(flags))
	for i, f := range flags {
		out[i] = strings.ToLower(f)
	}
	slices.Sort(out)
	return out
}

// contains reports whether all has each annotation of some.
func contains(all, some []cyrus.Annotation) bool {
	return !slices.ContainsFunc(some, func(a cyrus.Annotation) bool {
		return a.Value != nil && *a.Value != "" && !slices.ContainsFunc(all, func(b cyrus.Annotation) bool {
			return a.Entry == b.Entry && a.UserID == b.UserID && b.Value != nil && *a.Value == *b.Value
		})
	})
}

// compareCRCs compares the checksums that the server has computed with those of the restored records,
// and with that of the backup. A server with conversations adds annotations to messages, so
// their checksum cannot be equal.
func (x *comparing) compareCRCs(basic, annot uint64) {
	if uint64(x.want.Basic) != basic {
		x.problem("%s: the CRC of the server is %d, that of the records %d", x.f.From.Name, basic, x.want.Basic)
	} else {
		x.compareCRC(x.f, x.want, "server")
	}
	if !x.more && !x.want.Equal(0, uint32(annot)) {
		x.problem("%s: the CRC of annotations of the server is %d, that of the backup %d", x.f.From.Name, annot, x.want.Annot)
	}
}

// compareHead compares the mailbox itself.
func (x *comparing) compareHead(m, full *cyrus.Mailbox) {
	if want := number(x.f.From.Fields, "UIDVALIDITY"); want != 0 && uint64(m.UIDValidity) != want {
		x.problem("%s: uidvalidity is %d, that of the backup %d", x.f.From.Name, m.UIDValidity, want)
	}
	want, err := (&cyrus.Mailbox{Fields: x.f.From.Fields}).Annotations()
	if err != nil {
		x.problem("%s: annotations in the backup: %w", x.f.From.Name, err)
		return
	}
	for i := range want {
		want[i].UserID = x.user(want[i].UserID)
	}
	if have, err := full.Annotations(); err != nil || !contains(have, want) {
		x.lacks("%s: the server has other annotations of the mailbox", x.f.From.Name)
	}
}

// bodies reads each message back from the server.
func (x *comparing) bodies(ctx context.Context, c *client.Client, m *cyrus.Mailbox) error {
	for _, ref := range x.f.Messages {
		if x.bad[ref.UID] {
			continue
		}
		want, err := x.message(ref)
		if err != nil {
			return err
		}
		sum := sha1.New()
		size, err := c.GetFetch(ctx, cyrus.Fetch{Name: m.Name, Partition: m.Partition, UniqueID: m.UniqueID, GUID: want.GUID, UID: want.UID}, sum)
		var refused *client.RefusedError
		switch {
		case err != nil && (c.Broken() || ctx.Err() != nil || faulty(err) || !errors.As(err, &refused) && !errors.Is(err, cyrus.ErrNonexistent)):
			return err
		case err != nil:
			x.problem("%s uid %d (message %s): cannot be read from the server: %w", x.f.From.Name, want.UID, want.GUID, err)
		case cyrus.GUID(sum.Sum(nil)) != want.GUID:
			x.problem("%s uid %d (message %s): the server sends other bytes", x.f.From.Name, want.UID, want.GUID)
		default:
			x.out.Messages++
			x.out.Bytes += size
		}
	}
	return nil
}
