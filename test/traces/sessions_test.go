package traces_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions"
)

func TestFirstMail(t *testing.T) {
	h := newHost(t, nil)
	h.begin()
	c := h.dial()
	inbox := h.newMailbox("user.anne")
	h.deliver(inbox, "mail-1", text("one", 300))
	c.say("GET USER anne")
	c.upload(inbox, 0)
	c.mustApply(inbox, 0)
	h.golden(t, "first-mail", `
The first mail of the first user of an empty bucket.
GET USER writes nothing. The probe comes before all other objects, README.txt and repository.json
before the backup, backup.json before commit 1.`)
}

func TestNewMail(t *testing.T) {
	h := newHost(t, nil)
	inbox := h.newMailbox("user.anne")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.hold("anne", inbox)
	h.begin()
	c := h.dial()
	h.deliver(inbox, "mail-2", text("two", 300))
	c.say("GET USER anne")
	c.reserve(inbox, 1)
	c.upload(inbox, 1)
	c.mustApply(inbox, 1)
	h.deliver(inbox, "mail-3", text("three", 5000))
	c.reserve(inbox, 2)
	c.upload(inbox, 2)
	c.mustApply(inbox, 2)
	h.golden(t, "new-mail", `
New mail: first a small message, which its commit holds, then a larger one, which goes into a pack.
APPLY MESSAGE only stages a message: nothing is put until APPLY MAILBOX names it. Then the order
is: pack, index (of the pack), commit, index (of the backup), OK.`)
}

func TestLargeMail(t *testing.T) {
	h := newHost(t, func(o *partitions.Options) { o.PackSize = 3 << 20 })
	inbox := h.newMailbox("user.anne")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.hold("anne", inbox)
	h.begin()
	c := h.dial()
	h.deliver(inbox, "large", noise(9<<20))
	c.say("GET USER anne")
	c.reserve(inbox, 1)
	c.upload(inbox, 1)
	c.mustApply(inbox, 1)
	h.golden(t, "large-mail", `
A message that is larger than two packs. The server cuts it while it arrives, and puts each
full pack before it has read the rest. APPLY MAILBOX puts the last pack.`)
}

// noise returns a message of n bytes that do not compress.
func noise(n int) string {
	b := make([]byte, n)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < n; i++ {
		b[i] = byte(r.Uint32())
	}
	return "Subject: large\r\n\r\n" + string(b)
}

func TestRenameAcrossUsers(t *testing.T) {
	h := newHost(t, nil)
	inbox, work := h.newMailbox("user.bert"), h.newMailbox("user.bert.Work")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.deliver(work, "mail-2", text("two", 5000))
	h.hold("bert", inbox, work)
	h.begin()
	c := h.dial()
	c.say("GET MAILBOXES (user.bert user.bert.Work user.berti user.berti.Work)")
	c.say("APPLY RENAME %(OLDMBOXNAME user.bert NEWMBOXNAME user.berti PARTITION default UIDVALIDITY 1700000000)")
	c.say("APPLY RENAME %(OLDMBOXNAME user.bert.Work NEWMBOXNAME user.berti.Work PARTITION default UIDVALIDITY 1700000000)")
	c.say("GET MAILBOXES (user.bert user.bert.Work user.berti user.berti.Work)")
	h.golden(t, "rename-across-users", `
A user is renamed: two mailboxes move from one backup to another. Each is committed to the new
backup before it ends in the old one, so that at least one of the two has it at any moment.
The small message is copied into a commit of the new backup. The larger one is in a pack,
which both backups share.`)
}

func TestUnuser(t *testing.T) {
	h := newHost(t, nil)
	inbox, work := h.newMailbox("user.bert"), h.newMailbox("user.bert.Work")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.deliver(work, "mail-2", text("two", 5000))
	h.hold("bert", inbox, work)
	h.begin()
	c := h.dial()
	c.say("GET USER bert")
	c.say("APPLY UNMAILBOX user.bert.Work")
	c.say("APPLY UNUSER bert")
	c.say("GET USER bert")
	h.golden(t, "unuser", `
A user is deleted. The server puts commits and deletes no object: the mail stays as history.`)
}

func TestResync(t *testing.T) {
	h := newHost(t, nil)
	inbox := h.newMailbox("user.anne")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.deliver(inbox, "mail-2", text("two", 5000))
	h.hold("anne", inbox)
	h.begin()
	c := h.dial()
	c.say("GET USER anne")
	h.deliver(inbox, "mail-3", text("three", 300))
	inbox.crc = 1
	c.upload(inbox, 2)
	c.mustApply(inbox, 2)
	inbox.crc = 0
	c.say("RESTART")
	c.say("GET USER anne")
	c.reserve(inbox, 0)
	c.mustApply(inbox, 0)
	c.say("RESTART")
	c.say("GET USER anne")
	h.golden(t, "resync", `
The client's checksum of a mailbox differs from the server's. The records are committed, and a
second commit puts the mailbox into resync. The next GET USER reports the mailbox as empty, so the
client sends all records again. It sends no message, because none is missing.`)
}

func TestCheckpointFollows(t *testing.T) {
	h := newHost(t, func(o *partitions.Options) { o.CheckpointObject = 3 })
	inbox := h.newMailbox("user.anne")
	h.deliver(inbox, "mail-1", text("one", 300))
	h.hold("anne", inbox)
	open := h.holdCheckpoints()
	h.begin()
	c := h.dial()
	c.say("GET USER anne")
	for i := range 2 {
		h.deliver(inbox, fmt.Sprint("mail-", i+2), text(fmt.Sprint("another ", i), 300))
		c.upload(inbox, i+1)
		c.mustApply(inbox, i+1)
	}
	h.add("# the test lets the put of the checkpoint go on")
	open()
	h.await(t, func(lines []string) bool {
		last := lines[len(lines)-1]
		return strings.HasPrefix(last, "    index") && strings.Contains(lines[len(lines)-2], "/checkpoints/")
	})
	h.golden(t, "checkpoint-follows", `
The third commit of a backup makes a checkpoint due. It is written in the background: the OK does
not wait for it. The order is: blocks, checkpoint, index.`)
}

// holdCheckpoints makes puts of checkpoints wait until open is called. They give up waiting
// after some seconds, so that a server that waits for them fails the test and does not hang.
func (h *host) holdCheckpoints() (open func()) {
	gate := make(chan struct{})
	h.faults.Add(faultstore.Fault{
		Match: func(op, key string) bool {
			return op == "put" && (strings.Contains(key, "/checkpoints/") || strings.Contains(key, "/records/"))
		},
		Call: func(_, _ string) {
			select {
			case <-gate:
			case <-time.After(5 * time.Second):
			}
		},
	})
	return sync.OnceFunc(func() { close(gate) })
}
