package partitions_test

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
)

// A login reads any packed message of a partition if it knows the GUID and the size: it need not know
// whose message it is, nor its bytes. With dedup "backup", it has to name the mailbox.
func TestAnyPackedMessageByItsGUID(t *testing.T) {
	for _, private := range []bool{false, true} {
		h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit, o.DedupPerBackup = 8<<10, private }, newStore())
		anne, eve := newSource("user.anne"), newSource("user.eve")
		for i := range 4 {
			anne.deliver(mail(i, 5000))
		}
		eve.deliver(mail(9, 500))
		h.sync("anne", anne)
		h.sync("eve", eve)
		theirs := *anne.records[1]
		eve.lastUID++
		eve.modseq++
		theirs.UID, theirs.ModSeq = eve.lastUID, eve.modseq
		eve.records = append(eve.records, &theirs) // without its bytes
		c := h.client()
		if _, _, err := c.getUser("eve"); err != nil {
			t.Fatal(err)
		}
		missing, err := c.s.Reserve(t.Context(), "default", []string{eve.name}, []cyrus.GUID{theirs.GUID})
		if err != nil || (len(missing) > 0) != private {
			t.Fatalf("dedup per backup: %v, missing %v, %v", private, missing, err)
		}
		if !private {
			if err := c.s.ApplyMailbox(t.Context(), eve.head(), cyrus.Since{}, seq(eve.records)); err != nil {
				t.Fatal(err)
			}
			eve.bodies[theirs.GUID] = anne.bodies[theirs.GUID]
			if err := c.fetch(eve, &theirs); err != nil {
				t.Error(err)
			}
			continue
		}
		if err := c.fetch(eve, &theirs); !errors.Is(err, cyrus.ErrNonexistent) {
			t.Errorf("FETCH through another user's mailbox: %v", err)
		}
		if err := c.fetch(anne, anne.records[1]); err != nil {
			t.Error(err)
		}
	}
}
