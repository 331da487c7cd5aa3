package replay

import (
	"bytes"
	"strings"
	"testing"
)

// One of something is not several.
func TestNumbersInText(t *testing.T) {
	for want, s := range map[string]*Summary{
		"srv: 1 user over 1 connection; mail prepared in 0.0 s\nround 1: 1 message, 5 bytes, 1 record, 0 of 1 mailbox unchanged; ": {Server: "srv", Users: 1, Connections: 1,
			Rounds: []*Round{{Messages: 1, Bytes: 5, Records: 1, Mailboxes: 1}}},
		"srv: 3 users over 2 connections; mail prepared in 0.0 s\nround 1: nothing to do: the server has all 4 mailboxes; ": {Server: "srv", Users: 3, Connections: 2,
			Rounds: []*Round{{Mailboxes: 4, Unchanged: 4}}},
		"srv: 3 users over 1 connection; mail prepared in 0.0 s\nround 1: nothing to do: the server has the mailbox; ": {Server: "srv", Users: 3, Connections: 1,
			Rounds: []*Round{{Mailboxes: 1, Unchanged: 1}}},
	} {
		var out bytes.Buffer
		if err := s.writeText(&out); err != nil || !strings.HasPrefix(out.String(), want) {
			t.Errorf("%v, %q", err, out.String())
		}
	}
}
