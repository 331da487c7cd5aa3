package replication

import "strings"

// imapProbe answers a client that expects an IMAP server. With sync_try_imap, which is on
// by default, sync_client first sends "C01 CAPABILITY" and waits ten seconds for a line
// that begins with "C01 " (imap/backend.c, backend_connect). A tagged BAD and a close cost
// it a millisecond (client-behaviour.md 7). done is false if the line is another command;
// then its rest is still unread.
func (c *conn) imapProbe(tag string) (done bool, err error) {
	word, ok, err := c.arg()
	if err != nil {
		return true, err
	}
	if !ok || !strings.EqualFold(word, "CAPABILITY") && !strings.EqualFold(word, "LOGOUT") {
		return false, nil
	}
	if err := c.refuseLine(printable(tag) + " BAD not IMAP"); err != nil {
		return true, err
	}
	return true, errExit
}
