package csync

import (
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// owners are the users whom a mailbox belonged to and shall belong to; "" = nobody.
type owners struct{ was, is string }

func (d *Destination) ownersOf(f *restore.Folder) owners {
	was, _ := cyrus.Owner(f.From.Name, d.opt.DefaultDomain, d.opt.DeletedPrefix)
	is, _ := cyrus.Owner(f.Name, d.opt.DefaultDomain, d.opt.DeletedPrefix)
	return owners{was, is}
}

func (o owners) differ() bool { return o.was != o.is }

// user is who has at the destination what a user of the source had.
func (o owners) user(userid string) string {
	if userid != "" && userid == o.was && o.is != "" {
		return o.is
	}
	return userid
}

// own makes the owner's private annotations of a message those of the new owner.
func (w *work) own(m *restore.Message) {
	if !w.owners.differ() {
		return
	}
	m.Annotations = slices.Clone(m.Annotations)
	for i := range m.Annotations {
		m.Annotations[i].UserID = w.owners.user(m.Annotations[i].UserID)
	}
}

// ownAnnotations are the mailbox annotations of the backup, with the owner's private ones
// as those of the new owner.
func (w *work) ownAnnotations() ([]cyrus.Annotation, error) {
	list, err := (&cyrus.Mailbox{Fields: w.f.From.Fields}).Annotations()
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].UserID = w.owners.user(list[i].UserID)
	}
	return list, nil
}

// acl is that of a new mailbox. NIL makes the server give it the ACL of the nearest
// parent that is there, or else its default: all rights for the owner, or defaultacl
// (imap/mboxlist.c, mboxlist_create_acl). A new owner gets that: the rights in the backup
// are those of somebody else.
func (w *work) acl() dlist.Value {
	switch {
	case w.d.opt.ACL == nil && w.owners.differ():
		return dlist.Value{}
	case w.d.opt.ACL == nil:
		return dlist.S(text(w.f.From.Fields, "ACL"))
	case *w.d.opt.ACL == "":
		return dlist.Value{}
	}
	return dlist.S(*w.d.opt.ACL)
}

// aclNote says, where it matters, that the rights in the backup are not restored.
func (w *work) aclNote() string {
	if w.d.opt.ACL != nil || !w.owners.differ() {
		return ""
	}
	return ", with the ACL that new mailboxes get there"
}
