package partitions_test

import (
	"bytes"
	"strings"
	"testing"
)

// verify names the mailbox, the uid and the date of an unreadable message, and its subject if the
// beginning can be read.
func TestVerifyNamesLostMail(t *testing.T) {
	store := newStore()
	h := newHost(t, store)
	inbox, sent := newSource("user.anne"), newSource("user.anne.Sent")
	large := append([]byte("Subject: the minutes\r\n\r\n"), noise(1, 8<<20)...)
	inbox.deliver(mail(1, 500))
	inbox.deliver(large)
	sent.deliver(large)
	h.sync("anne", inbox, sent)
	for _, key := range store.Keys("packs/") {
		b := bytes.Clone(body(t, store, key))
		b[len(b)*3/4] ^= 0x10
		replace(t, store, key, b)
	}
	problems, done := verified(t, store, false)
	text := strings.Join(problems, "\n")
	for _, want := range []string{"message " + sent.records[0].GUID.String(), "(user.anne uid 2 and 1 other record, delivered 20", `, subject "the minutes")`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if done.Damaged != 1 {
		t.Errorf("%d problems, want 1:\n%s", done.Damaged, text)
	}
}
