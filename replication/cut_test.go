package replication_test

import (
	"net"
	"testing"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// A connection that ends anywhere inside a command leaves no data. The Session gets
// a read error.
func TestCutOff(t *testing.T) {
	message := "APPLY MESSAGE (%{p " + guidHello + " 5}\r\nhello)\r\n"
	mailbox := "APPLY MAILBOX " + box + " RECORD (" + record + "))\r\n"
	whole := message + mailbox
	for n := range len(whole) {
		store := replicationtest.NewStore()
		client, server := net.Pipe()
		b := serve(t, newServer(t, store, nil), server, replication.ConnOptions{Unix: true})
		c, _, err := replicationtest.NewClient(client)
		if err != nil {
			t.Fatal(err)
		}
		rest := whole[:n]
		if n >= len(message) {
			if r, err := c.Send([]byte(message)); err != nil || !r.OK() {
				t.Fatalf("message: %v %v", r, err)
			}
			rest = whole[len(message):n]
		}
		if _, err := client.Write([]byte(rest)); err != nil {
			t.Fatal(err)
		}
		client.Close()
		err = <-b.ended
		if atBoundary := n == 0 || n == len(message); (err == nil) != atBoundary {
			t.Errorf("cut at %d (%q): ServeConn: %v", n, whole[:n], err)
		}
		if store.Lookup("user.anne") != nil || store.Messages() != 0 {
			t.Errorf("cut at %d (%q): something was applied", n, whole[:n])
		}
	}
}
