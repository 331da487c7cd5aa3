package cyrus

// Undeleted is the name that a mailbox had before it was deleted: without
// deletedprefix (usually DELETED) and the time stamp at its end. false: name is not
// in the name space of deleted mailboxes, and is returned as it is.
func Undeleted(name, deletedPrefix string) (string, bool) {
	domain, rest := splitDomain(name, "")
	rest, deleted := undelete(rest, deletedPrefix)
	if !deleted {
		return name, false
	}
	if domain != "" {
		rest = domain + "!" + rest
	}
	return rest, true
}
