package traces_test

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
)

func TestPackPutFails(t *testing.T) {
	h := newHost(t, nil)
	inbox := h.newMailbox("user.anne")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.hold("anne", inbox)
	h.begin()
	c := h.dial()
	h.deliver(inbox, "mail-2", text("two", 5000))
	c.say("GET USER anne")
	c.upload(inbox, 1)
	h.strike("put", "packs/", false, faultstore.Denied)
	h.refused(c.apply(inbox, 1).OK())
	c.say("RESTART")
	c.say("GET USER anne")
	c.reserve(inbox, 1)
	c.upload(inbox, 1)
	h.strike("put", "packs/", false, faultstore.Lost)
	c.mustApply(inbox, 1)
	h.golden(t, "pack-put-fails", `
The put of a pack fails. The first time the store denies it: nothing is committed, and RESERVE
reports the message as missing. The second time the connection is lost: the server repeats
the put while the client waits.`)
}

func TestCommitPutFails(t *testing.T) {
	h := newHost(t, nil)
	inbox := h.newMailbox("user.anne")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.hold("anne", inbox)
	h.begin()
	c := h.dial()
	h.deliver(inbox, "mail-2", text("two", 5000))
	c.say("GET USER anne")
	c.upload(inbox, 1)
	h.strike("put", "/log/", false, faultstore.Denied)
	h.refused(c.apply(inbox, 1).OK())
	c.say("RESTART")
	c.say("GET USER anne")
	c.reserve(inbox, 1)
	c.mustApply(inbox, 1)
	h.golden(t, "commit-put-fails", `
The store denies the put of a commit. The index does not show the message in the backup. But it
knows the pack, so the client need not send the message again.`)
}

func TestAnswerIsLost(t *testing.T) {
	h := newHost(t, nil)
	inbox := h.newMailbox("user.anne")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.hold("anne", inbox)
	h.begin()
	c := h.dial()
	h.deliver(inbox, "mail-2", text("two", 300))
	c.say("GET USER anne")
	c.upload(inbox, 1)
	h.strike("put", "/log/", true, faultstore.Lost)
	h.reads = true
	c.mustApply(inbox, 1)
	h.deliver(inbox, "mail-3", text("three", 300))
	c.upload(inbox, 2)
	h.strike("put", "/log/", false, faultstore.Lost)
	c.mustApply(inbox, 2)
	h.golden(t, "answer-is-lost", `
The answer to the put of a commit is lost. The server reads the number before it does anything
else. The first time it finds its own commit. Without the answer it does not know the store's time
of the put, so it checks that the log still continues with this commit. The second time the commit
does not exist, and the server puts it again.`)
}

func TestIndexWriteFails(t *testing.T) {
	h := newHost(t, nil)
	inbox := h.newMailbox("user.anne")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.hold("anne", inbox)
	h.begin()
	c := h.dial()
	h.deliver(inbox, "mail-2", text("two", 300))
	c.say("GET USER anne")
	c.upload(inbox, 1)
	h.index.failNext(errors.New("the disk fails"))
	h.refused(c.apply(inbox, 1).OK())
	c.say("RESTART")
	c.say("GET USER anne")
	h.golden(t, "index-write-fails", `
The write to the index fails after the commit was put. The client gets no OK. When it tries again,
the server adds the commit to the index, and the client has nothing to send.`)
}

// refused fails the test if a command that must fail has succeeded.
func (h *host) refused(ok bool) {
	h.t.Helper()
	if ok {
		h.t.Fatalf("the last command succeeded:\n%s", h.trace)
	}
}
