package cyrus

import "strings"

// Names on the wire are internal: separator ".", a dot within a component is
// "^", non-ASCII in modified UTF-7, which is left alone, and an optional domain
// in front: example.com!user.anne^smith.Sent (imap/mboxname.c,
// mbname_from_intname). They compare byte by byte.

// splitDomain takes off "domain!"; a domain equal to defaultDomain counts as none.
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

// undelete takes off the prefix and the time stamp of a deleted mailbox's name.
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

// IsDeleted says that name is in the name space of deleted mailboxes
// (deletedprefix, usually DELETED).
func IsDeleted(name, deletedPrefix string) bool {
	_, rest := splitDomain(name, "")
	_, deleted := undelete(rest, deletedPrefix)
	return deleted
}

// Owner says whom a mailbox belongs to, deleted or not: either userid, in
// external form (anne.smith@example.com), or, of a mailbox that is no user's,
// its top-level name as it stands, with its domain ([domain!]top).
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

// IsInbox says that name is a user's INBOX, and not a deleted one.
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

// AdminForm says how an administrator writes names (imap/mboxname.c,
// mbname_extname with an admin name space). altnamespace does not matter to one.
type AdminForm struct {
	UnixHierarchySep bool   // "/" between components, "." stands for itself
	DefaultDomain    string // a name in it carries no @domain
	VirtDomains      bool   // a trailing @domain is one; false: it is part of the name
}

// External returns the form that an administrator sees.
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

// Internal returns the form that the wire carries.
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
