package cyrus

// Undeleted returns the name of a mailbox before it was deleted: without deletedprefix
// (usually DELETED) and the timestamp at its end. If name is not in the namespace of
// deleted mailboxes, it returns name unchanged and false.
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
