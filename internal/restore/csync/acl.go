package csync

import (
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// owners are the old and the new owner of a mailbox; "" = nobody.
type owners struct{ was, is string }

func (d *Destination) ownersOf(f *restore.Folder) owners {
	was, _ := cyrus.Owner(f.From.Name, d.opt.DefaultDomain, d.opt.DeletedPrefix)
	is, _ := cyrus.Owner(f.Name, d.opt.DefaultDomain, d.opt.DeletedPrefix)
	return owners{was, is}
}

func (o owners) differ() bool { return o.was != o.is }

// user returns the user at the destination for a user of the source.
func (o owners) user(userid string) string {
	if userid != "" && userid == o.was && o.is != "" {
		return o.is
	}
	return userid
}

// own assigns the owner's private annotations of a message to the new owner.
func (w *work) own(m *restore.Message) {
	if !w.owners.differ() {
		return
	}
	m.Annotations = slices.Clone(m.Annotations)
	for i := range m.Annotations {
		m.Annotations[i].UserID = w.owners.user(m.Annotations[i].UserID)
	}
}

// ownAnnotations returns the mailbox annotations of the backup. The owner's private ones belong to
// the new owner.
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

// acl returns the ACL of a new mailbox. NIL makes the server use the ACL of the nearest existing
// parent or its default: all rights for the owner, or defaultacl (imap/mboxlist.c,
// mboxlist_create_acl). A new owner gets that, because the ACL in the backup gives rights to other
// users.
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

// aclNote mentions that the ACL of the backup is not restored, if that matters.
func (w *work) aclNote() string {
	if w.d.opt.ACL != nil || !w.owners.differ() {
		return ""
	}
	return ", with the ACL that new mailboxes get there"
}
