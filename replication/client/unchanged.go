package client

import (
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// unchanged reports whether the server's state shows that there is nothing to send
// (imap/sync_support.c, is_unchanged). Like there, LAST_APPENDDATE, PARTITION, QUOTAROOT
// and CREATEDMODSEQ are not compared.
func unchanged(ours, theirs *cyrus.Mailbox) bool {
	a, b := dlist.KV(ours.Fields...), dlist.KV(theirs.Fields...)
	if ours.Type != theirs.Type || ours.Name != theirs.Name || ours.LastUID != theirs.LastUID ||
		ours.HighestModSeq != theirs.HighestModSeq || ours.UIDValidity != theirs.UIDValidity {
		return false
	}
	for _, key := range []string{"RECENTUID", "RECENTTIME", "POP3_LAST_LOGIN", "POP3_SHOW_AFTER", "OPTIONS", "ACL"} {
		if textOf(a, key) != textOf(b, key) {
			return false
		}
	}
	if f := textOf(b, "FOLDERMODSEQ"); f != "" && f != "0" && f != textOf(a, "FOLDERMODSEQ") {
		return false
	}
	return sameCRC(ours.SyncCRC, theirs.SyncCRC) && sameCRC(ours.SyncCRCAnnot, theirs.SyncCRCAnnot) && sameAnnotations(ours, theirs)
}

func textOf(v dlist.Value, key string) string {
	c, _ := v.Get(key)
	if c.Str == "" && (key == "POP3_SHOW_AFTER" || key == "POP3_LAST_LOGIN") {
		return "0" // optional in a reply
	}
	return c.Str
}

func sameCRC(a, b uint32) bool { return a == 0 || b == 0 || a == b }

func sameAnnotations(ours, theirs *cyrus.Mailbox) bool {
	a, err1 := ours.Annotations()
	b, err2 := theirs.Annotations()
	if err1 != nil || err2 != nil || len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Entry != b[i].Entry || a[i].UserID != b[i].UserID || (a[i].Value == nil) != (b[i].Value == nil) ||
			a[i].Value != nil && *a[i].Value != *b[i].Value {
			return false
		}
	}
	return true
}
