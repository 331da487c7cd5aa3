package partitions_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// account is a user of the mail server.
type account struct {
	boxes map[string]*source // by uniqueid
	subs  map[string]bool    // name → subscribed; false: no longer
	quota uint64
	seen  string
	sieve string
	// uniqueids of the former person's mailboxes, which the source has forgotten
	forgotten map[string]bool
	person    bool // another person had the name before
}

func newAccount() *account {
	return &account{boxes: map[string]*source{}, subs: map[string]bool{}}
}

// moment is a copy of a user's mailboxes at the source when a commit was the newest.
type moment struct {
	path   string
	number uint64
	boxes  []*source
	at     time.Time // when it was the newest
	held   bool      // a hold keeps it
}

// model is a mail server with some users, and two backup hosts.
type model struct {
	t       *testing.T
	stores  [2]*memstore.Store
	hosts   [2]*host
	clients [2]*client // open connections; nil: none
	users   map[string]*account
	past    []moment
	last    string // what the last push sent
	counter int    // makes names, uniqueids, and mail unique
}

func (w *model) next() int { w.counter++; return w.counter }

func (w *model) user(t *rapid.T) string {
	return rapid.SampledFrom(slices.Sorted(maps.Keys(w.users))).Draw(t, "user")
}

// box draws a user and one of its mailboxes.
func (w *model) box(t *rapid.T) (string, *source) {
	u := w.user(t)
	a := w.users[u]
	if len(a.boxes) == 0 {
		t.Skip("no mailbox")
	}
	return u, a.boxes[rapid.SampledFrom(slices.Sorted(maps.Keys(a.boxes))).Draw(t, "mailbox")]
}

// folder draws a mailbox other than an INBOX: an INBOX keeps its name.
func (w *model) folder(t *rapid.T) (string, *source) {
	u, b := w.box(t)
	if cyrus.IsInbox(b.name) {
		t.Skip("an INBOX")
	}
	return u, b
}

func (w *model) newBox(user string) *source {
	n := w.next()
	b := newSource(fmt.Sprintf("user.%s.Box%d", user, n))
	b.uniqueid = fmt.Sprintf("unique%06d", n)
	return b
}

func (w *model) hangUp(i int) {
	if w.clients[i] != nil {
		w.clients[i].s.Close()
		w.clients[i] = nil
	}
}

// connect returns a connection to one of the hosts. The connection to the other host gives
// up its backups, as it does in operation after a while.
func (w *model) connect(t *rapid.T) *client {
	i := rapid.IntRange(0, 1).Draw(t, "host")
	if w.clients[i] == nil {
		w.clients[i] = &client{w.t, session.New(w.hosts[i].set, session.Who{Connection: fmt.Sprint("c", w.next())})}
	}
	return w.clients[i]
}

// acceptable reports whether a client tries again after an error.
func acceptable(err error) bool {
	for _, e := range []error{cyrus.ErrLocked, cyrus.ErrClose, cyrus.ErrSyncChanged, cyrus.ErrNonexistent, objstore.ErrDenied, memstore.ErrInjected} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sync runs sync_client until it has nothing more to send, and then compares.
func (w *model) sync(t *rapid.T, user string) {
	c := w.connect(t)
	quiet := false
	var sent []string
	for try := 0; !quiet; try++ {
		if try > 30 {
			t.Fatalf("%s is not up to date after 30 runs:\n%s", user, strings.Join(sent, "\n"))
		}
		if try > 2 {
			w.heal() // faults end
		}
		n, err := w.push(c, user)
		if err != nil && !acceptable(err) {
			t.Fatalf("sync of %s: %v", user, err)
		}
		sent = append(sent, fmt.Sprintf("%d commands, %v", n, err), w.last)
		sent = sent[max(len(sent)-4, 0):]
		quiet = err == nil && n == 0
		c.s.Restart(w.t.Context())
	}
	w.heal()
	w.compare(t, user)
}

func (w *model) heal() {
	for _, s := range w.stores {
		s.SetFaults(nil, nil)
	}
}

// The mail server changes its mailboxes at random, and index, store, and connections fail.
// After each sync the bucket equals the source, and a second sync sends nothing. At the end the
// history contains every former state.
func TestModel(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		if err := flag.Set("rapid.checks", "8"); err != nil {
			t.Fatal(err)
		}
	}
	stores := [2]*memstore.Store{newStore(), newStore()}
	set := func(o *partitions.Options) {
		o.InlineLimit, o.PackSize, o.CheckpointObject = 8<<10, 64<<10, 6
		o.OutageWait, o.PatientWait = 40*time.Millisecond, 40*time.Millisecond
	}
	hosts := [2]*host{newHostWith(t, set, stores[0], stores[1]), newHostWith(t, set, stores[0], stores[1])}
	for i := range 2 {
		hosts[i].sync("x", newSource("user.x"))
		hosts[i].sync("yy", newSource("user.yy"))
	}
	counter := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := &model{t: t, stores: stores, hosts: hosts, users: map[string]*account{}, counter: counter}
		defer func() {
			counter = w.counter
			w.heal()
			w.hangUp(0)
			w.hangUp(1)
		}()
		for range 2 {
			u := fmt.Sprintf("u%d", w.next())
			w.users[u] = newAccount()
			for range 2 {
				b := w.newBox(u)
				for range 3 {
					b.deliver(mail(w.next(), 300))
				}
				w.users[u].boxes[b.uniqueid] = b
			}
		}
		actions := w.actions()
		for name, do := range actions {
			if name == "sync" || name == "store fault" || name == "rename the user" {
				continue
			}
			actions[name] = func(t *rapid.T) { // mostly sync after each change, sometimes after several
				do(t)
				if rapid.IntRange(0, 2).Draw(t, "sync") > 0 {
					w.sync(t, w.user(t))
				}
			}
		}
		rt.Repeat(actions)
		for _, u := range slices.Sorted(maps.Keys(w.users)) {
			w.sync(rt, u)
		}
		w.checkPast(rt)
	})
}
