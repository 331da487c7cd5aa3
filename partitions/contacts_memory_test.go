package partitions

import (
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Names without a backup are bounded in memory, all and those of a mail server, also while the index takes nothing.
// They push out no contact of a backup.
func TestNamesPushOutNoContact(t *testing.T) {
	c := newContacts(time.Now())
	refused := func(path, client string, nameless bool) {
		c.backup(path, backupContact{refused: &repository.Refusal{Client: client}, nameless: nameless, asker: client})
	}
	for round := range 4 {
		for i := range 20000 {
			refused(fmt.Sprint("user/nobody", round, ".", i), fmt.Sprint("client", i%20), true)
		}
		if n := len(c.backups); n > namesInMemory+round {
			t.Fatalf("%d contacts in round %d", n, round)
		}
		refused(fmt.Sprint("user/anne", round), "client0", false)
		servers, backups := c.take()
		for i := range 20000 {
			refused(fmt.Sprint("user/nobody0.", i), "client1", true)
		}
		if n := len(c.backups); n != namesMost {
			t.Fatalf("%d contacts of a mail server", n)
		}
		c.giveBack(servers, backups)
	}
	for round := range 4 {
		if _, there := c.backups[fmt.Sprint("user/anne", round)]; !there {
			t.Errorf("the refusal of anne%d is lost", round)
		}
	}
	if n := len(c.backups); n > namesInMemory+4 || c.nameless != n-4 {
		t.Errorf("%d contacts, %d of names", n, c.nameless)
	}
	c.backup("user/nobody0.1", backupContact{Client: "client1", At: time.Now()}) // now there is a backup
	if n := len(c.backups); c.nameless != n-5 {
		t.Errorf("%d contacts, %d of names", n, c.nameless)
	}
}

// A mail server with many names, or several, hide no names of another one, and status shows that theirs are not all
// listed.
func TestNamesAreShared(t *testing.T) {
	c := newContacts(time.Now())
	refused := func(path, client string) {
		r := &repository.Refusal{Client: client}
		c.server(client, time.Now(), r)
		c.backup(path, backupContact{refused: r, nameless: true, asker: client})
	}
	for i := range 8 * namesMost {
		refused(fmt.Sprint("user/nobody", i), fmt.Sprint("large", i%7))
	}
	for i := range namesMost / 2 {
		refused(fmt.Sprint("user/new", i), "small")
	}
	if n := len(c.names["small"]); n != namesMost/2 {
		t.Errorf("%d names of the small mail server, want %d", n, namesMost/2)
	}
	all := 0
	for client, paths := range c.names {
		if all += len(paths); len(paths) < namesMost/2 {
			t.Errorf("%s: %d names", client, len(paths))
		}
		if c.servers[client].Unlisted.IsZero() != (client == "small") {
			t.Errorf("%s: %+v", client, c.servers[client])
		}
	}
	if all != namesInMemory || c.nameless != all || len(c.backups) != all {
		t.Errorf("%d names, counted as %d; %d contacts", all, c.nameless, len(c.backups))
	}
}
