package replication_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// What a client sends together with its login, more than the small buffers before the login hold, is
// answered after it, in order.
func TestCommandsBehindLogin(t *testing.T) {
	for _, commands := range []int{0, 1, 50, 500} {
		for _, user := range []string{"anne", strings.Repeat("a", 4000)} {
			t.Run(fmt.Sprintf("%d commands of %d bytes", commands, len(user)), func(t *testing.T) {
				b := dial(t, newServer(t, replicationtest.NewStore(), nil), replication.ConnOptions{})
				sent := "AUTHENTICATE PLAIN " + b64("\x00repl\x00secret") + "\r\n" + strings.Repeat("GET USER "+user+"\r\n", commands) + "NOOP\r\n"
				go func() { _, _ = b.Conn.Write([]byte(sent)) }() // an error shows below
				for i := range commands + 2 {
					r, err := b.Reply()
					if err != nil || !r.OK() {
						t.Fatalf("answer %d: %v, %v", i, r, err)
					}
				}
				b.do("COMPRESS DEFLATE")
			})
		}
	}
}

// LoggedIn is called for admins only: nobody else keeps a place.
func TestLoggedIn(t *testing.T) {
	for user, want := range map[string]int{"repl": 1, "anne": 0, "nobody": 0} {
		calls := 0
		b := dial(t, newServer(t, replicationtest.NewStore(), nil), replication.ConnOptions{LoggedIn: func() { calls++ }})
		b.do("AUTHENTICATE PLAIN " + b64("\x00"+user+"\x00secret"))
		b.do("EXIT")
		<-b.ended
		if calls != want {
			t.Errorf("%s: %d calls, want %d", user, calls, want)
		}
	}
}
