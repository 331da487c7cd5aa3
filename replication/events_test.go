package replication_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// tally counts events by their text.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (t *tally) add(n int, text ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[string]int{}
	}
	t.n[fmt.Sprint(text...)] += n
}

func (t *tally) events() replication.Events {
	return replication.Events{
		Login:   func(mech, result string) { t.add(1, "login ", mech, " ", result) },
		Command: func(name, result string) { t.add(1, name, " ", result) },
		Read:    func(n int) { t.add(n, "read") },
		Written: func(n int) { t.add(n, "written") },
	}
}

// Each login and each command is an event with its result, invented commands too.
func TestEvents(t *testing.T) {
	var seen tally
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.Events = seen.events() })
	b := dial(t, srv, replication.ConnOptions{})
	b.want("AUTHENTICATE MAGIC", "NO no mechanism available")
	b.want("AUTHENTICATE PLAIN "+b64("\x00repl\x00wrong"), "NO authentication failure")
	b.want("AUTHENTICATE PLAIN", "+ ")
	b.want("*", "BAD Client canceled authentication")
	b.want("GET USER anne", "NO Please authenticate first")
	b.want("AUTHENTICATE plain "+b64("\x00repl\x00secret"), "OK Success (no protection)")
	b.want("GET USER anne", "OK Success")
	b.want("GET NONSENSE anne", "NO IMAP_PROTOCOL_ERROR Protocol error")
	b.want("APPLY UNMAILBOX user.nobody", "OK Success")
	b.want("APPLY SEEN %()", "NO IMAP_PROTOCOL_BAD_PARAMETERS Bad parameters")
	b.want("RESTART", "OK Restarting")
	b.want("MADEUP x", "BAD IMAP_PROTOCOL_ERROR Unrecognized command")
	b.want("EXIT", "OK Finished")
	if err := <-b.ended; err != nil {
		t.Fatal(err)
	}
	if seen.n["read"] == 0 || seen.n["written"] == 0 {
		t.Errorf("bytes %d read, %d written", seen.n["read"], seen.n["written"])
	}
	delete(seen.n, "read")
	delete(seen.n, "written")
	want := map[string]int{
		"login other refused": 1, "login PLAIN refused": 1, "login PLAIN cancelled": 1, "login PLAIN ok": 1,
		"AUTHENTICATE no": 2, "AUTHENTICATE bad": 1, "AUTHENTICATE ok": 1,
		"GET no": 1, "GET USER ok": 1, "GET protocol_error": 1,
		"APPLY UNMAILBOX ok": 1, "APPLY SEEN bad_parameters": 1,
		"RESTART ok": 1, "other bad": 1, "EXIT ok": 1,
	}
	if !maps.Equal(seen.n, want) {
		for _, k := range slices.Sorted(maps.Keys(seen.n)) {
			t.Errorf("%s: %d, want %d", k, seen.n[k], want[k])
		}
		t.Errorf("got %v", seen.n)
	}
}

// An unfinished command, and a command without an answer.
func TestEventsWithoutAnswer(t *testing.T) {
	var seen tally
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.Events = seen.events() })
	b := dial(t, srv, replication.ConnOptions{Unix: true})
	if _, err := b.Conn.Write([]byte("GET USER an")); err != nil {
		t.Fatal(err)
	}
	b.Conn.Close()
	<-b.ended
	if seen.n["GET USER lost"] != 1 {
		t.Errorf("%v", seen.n)
	}
}
