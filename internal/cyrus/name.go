package cyrus

import "strings"

// Names on the wire are in internal form: separator ".", "^" for a dot within a component,
// non-ASCII characters in modified UTF-7, which stays unchanged, and an optional domain as
// a prefix: example.com!user.anne^smith.Sent (imap/mboxname.c, mbname_from_intname). They
// compare byte by byte.

// splitDomain removes "domain!". A domain equal to defaultDomain counts as none.
func splitDomain(name, defaultDomain string) (domain, rest string) {
	domain, rest, ok := strings.Cut(name, "!")
	if !ok {
		return "", name
	}
	if domain == defaultDomain {
		return "", rest
	}
	return domain, rest
}

// undelete removes the prefix and the timestamp from the name of a deleted mailbox.
func undelete(name, deletedPrefix string) (string, bool) {
	first, rest, ok := strings.Cut(name, ".")
	if !ok || deletedPrefix == "" || first != deletedPrefix {
		return name, false
	}
	i := strings.LastIndexByte(rest, '.')
	if i < 0 {
		return name, false
	}
	return rest[:i], true
}

// IsDeleted reports whether name is in the namespace of deleted mailboxes (deletedprefix,
// usually DELETED).
func IsDeleted(name, deletedPrefix string) bool {
	_, rest := splitDomain(name, "")
	_, deleted := undelete(rest, deletedPrefix)
	return deleted
}

// Owner returns the owner of a mailbox, deleted or not: userid in external form
// (anne.smith@example.com), or, if no user owns the mailbox, shared: the unchanged
// top-level name with its domain ([domain!]top).
func Owner(name, defaultDomain, deletedPrefix string) (userid, shared string) {
	domain, rest := splitDomain(name, defaultDomain)
	rest, _ = undelete(rest, deletedPrefix)
	top, below, _ := strings.Cut(rest, ".")
	localpart, _, _ := strings.Cut(below, ".")
	if top == "user" && localpart != "" {
		userid = strings.ReplaceAll(localpart, "^", ".")
		if domain != "" {
			userid += "@" + domain
		}
		return userid, ""
	}
	if domain != "" {
		top = domain + "!" + top
	}
	return "", top
}

// IsInbox reports whether name is a user's INBOX that is not deleted.
func IsInbox(name string) bool {
	_, rest := splitDomain(name, "")
	localpart, ok := strings.CutPrefix(rest, "user.")
	return ok && localpart != "" && !strings.Contains(localpart, ".")
}

// Inbox returns the name of a user's INBOX (imap/mboxname.c, mboxname_user_mbox).
func Inbox(userid, defaultDomain string) string {
	localpart, domain := userid, ""
	if i := strings.LastIndexByte(userid, '@'); i >= 0 {
		localpart, domain = userid[:i], userid[i+1:]
	}
	name := "user." + strings.ReplaceAll(localpart, ".", "^")
	if domain != "" && domain != defaultDomain {
		name = domain + "!" + name
	}
	return name
}

// AdminForm is the administrator's form of names (imap/mboxname.c, mbname_extname with an
// admin namespace). altnamespace does not apply to administrators.
type AdminForm struct {
	UnixHierarchySep bool   // "/" between components, "." is an ordinary character
	DefaultDomain    string // names in this domain have no @domain
	VirtDomains      bool   // a trailing @domain is a domain; false: it is part of the name
}

// External returns the administrator's form of a name.
func (f AdminForm) External(name string) string {
	domain, rest := splitDomain(name, f.DefaultDomain)
	if f.UnixHierarchySep {
		rest = strings.NewReplacer(".", "/", "^", ".").Replace(rest)
	}
	if domain != "" {
		rest += "@" + domain
	}
	return rest
}

// Internal returns the wire form of a name.
func (f AdminForm) Internal(name string) string {
	domain := ""
	if i := strings.LastIndexByte(name, '@'); f.VirtDomains && i >= 0 {
		name, domain = name[:i], name[i+1:]
	}
	if f.UnixHierarchySep {
		name = strings.NewReplacer("/", ".", ".", "^").Replace(name)
	}
	if domain != "" && domain != f.DefaultDomain {
		name = domain + "!" + name
	}
	return name
}
