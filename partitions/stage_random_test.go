package partitions_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// crowd is a mail server with some users, to whom the same messages are delivered, and two backup hosts.
type crowd struct {
	t      *testing.T
	r      *rand.Rand
	stores []*memstore.Store
	h, far *host
	users  []string
	boxes  map[string][]*source // by user
	sizes  []int                // of the messages that were delivered, by number
	oks    int

	mu     sync.Mutex // hosts put and read in the background, too
	luck   *rand.Rand
	faults int // remaining; they are off while the test reads the stores
	off    bool
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	w := &crowd{t: t, r: rand.New(rand.NewPCG(seed, 9)), luck: rand.New(rand.NewPCG(seed, 10)), boxes: map[string][]*source{}, users: []string{"ann", "ben", "cat", "dan"}}
	var stores []objstore.Store
	for range 1 + w.r.IntN(2) {
		s := newStore()
		w.stores, stores = append(w.stores, s), append(stores, s)
	}
	limit, private := int64(1+w.r.IntN(8))<<10, w.r.IntN(3) == 0
	set := func(o *partitions.Options) {
		shortWait(o)
		o.InlineLimit, o.DedupPerBackup, o.NoCheckpoints = limit, private, true
	}
	w.h, w.far = newHostWith(t, set, stores...), newHostWith(t, set, stores...)
	for _, user := range w.users {
		w.boxes[user] = []*source{newSource("user." + user), newSource("user." + user + ".Sent")}
		if w.r.IntN(4) > 0 {
			w.h.syncUntil(user, w.boxes[user]...)
		}
	}
	return w
}

// deliver delivers a new message, or the message of somebody, to some mailboxes.
func (w *crowd) deliver() {
	n := w.r.IntN(len(w.sizes) + 1)
	if w.r.IntN(2) == 0 || n == len(w.sizes) {
		n = len(w.sizes)
		w.sizes = append(w.sizes, 200+w.r.IntN(2500))
	}
	for _, user := range w.users {
		for _, box := range w.boxes[user] {
			if w.r.IntN(3) == 0 {
				box.deliver(mail(n, w.sizes[n]))
			}
		}
	}
}

// switchOff switches faults off or on again.
func (w *crowd) switchOff(off bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = off
}

// mayFail lets some requests fail.
func (w *crowd) mayFail(requests int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = requests
}

func (w *crowd) fault(string, string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.off || w.faults == 0 || w.luck.IntN(6) > 0 {
		return nil
	}
	w.faults--
	return memstore.ErrInjected
}

// unit is a unit of work on some mailboxes. It ends at an error, or goes on with the next mailbox.
func (w *crowd) unit() {
	c := w.h.client()
	if w.r.IntN(3) == 0 {
		c = w.h.limited(w.users...)
	}
	defer c.s.Close()
	var boxes []*source
	for _, user := range w.users {
		boxes = append(boxes, w.boxes[user]...)
	}
	w.r.Shuffle(len(boxes), func(i, j int) { boxes[i], boxes[j] = boxes[j], boxes[i] })
	boxes = boxes[:2+w.r.IntN(len(boxes)-1)]
	there, err := c.getMailboxes(boxes...)
	if err != nil {
		w.refused(err)
		return
	}
	missing, sent := w.reserve(c, there, boxes)
	for i, box := range boxes {
		switch w.r.IntN(6) {
		case 0:
			missing, sent = w.reserve(c, there, boxes[i:])
		case 1:
			w.disturb(box)
		}
		if _, err := c.update(w.t.Context(), box, there, missing, sent); err != nil {
			w.refused(err)
			if w.r.IntN(2) == 0 {
				return
			}
			continue
		}
		w.hasBodies(box)
	}
}

func (w *crowd) reserve(c *client, there state, boxes []*source) (missing, sent map[cyrus.GUID]bool) {
	missing, err := c.reserve(w.t.Context(), there, boxes)
	if err != nil {
		w.refused(err)
	}
	return missing, map[cyrus.GUID]bool{}
}

// disturb changes something beside the client: the index of the owner is made again, another host syncs the owner, or
// another connection takes memory.
func (w *crowd) disturb(box *source) {
	user := w.h.set.NameOf(box.name).Full
	switch w.r.IntN(3) {
	case 0:
		if err := w.h.set.Reindex(w.t.Context(), repository.UserName(user)); err != nil && !errors.Is(err, repository.ErrNoBackup) && !errors.Is(err, memstore.ErrInjected) {
			w.refused(err)
		}
	case 1:
		c := w.far.client()
		defer c.s.Close()
		if _, err := c.sync(user, w.boxes[user]...); err != nil {
			w.refused(err)
		}
	case 2:
		c := w.h.client()
		for n := range w.sizes {
			box := newSource("user.other")
			if err := c.upload(w.t.Context(), box, box.deliver(mail(n, w.sizes[n]))); err != nil {
				w.refused(err)
			}
		}
	}
}

// refused checks that the client is deferred, and that no message was declared as never sent.
func (w *crowd) refused(err error) {
	w.t.Helper()
	deferredOnly(w.t, err)
}

// hasBodies checks that the bucket has each message of a mailbox whose command was answered with OK.
func (w *crowd) hasBodies(box *source) {
	w.t.Helper()
	w.switchOff(true)
	defer w.switchOff(false)
	path := w.h.set.NameOf(box.name).Path()
	for _, s := range w.stores {
		m := load(w.t, s, path)
		if m == nil {
			continue
		}
		st, err := m.Mailbox(box.uniqueid)
		if err == nil && st != nil && st.Resync == "" {
			w.oks++
			for _, r := range box.records {
				checkBody(w.t, m, history.NewObjects(s, 0), r.GUID, box.bodies[r.GUID])
			}
		}
		m.Close()
	}
}

// TestSeveralAtRandom lets clients work on several users at once, with little memory, faults of the store, a second
// host, and indexes that are made again. Mail is in the bucket whenever the answer is OK, no answer declares mail as
// never sent, and at the end everything is there.
func TestSeveralAtRandom(t *testing.T) {
	for seed := range uint64(seeds()) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newCrowd(t, seed)
			for range 12 {
				for range 1 + w.r.IntN(8) {
					w.deliver()
				}
				w.mayFail(w.r.IntN(3) * w.r.IntN(3))
				for _, s := range w.stores {
					if w.r.IntN(2) == 0 {
						s.SetFaults(w.fault, nil)
					} else {
						s.SetFaults(nil, w.fault)
					}
				}
				w.unit()
			}
			for _, s := range w.stores {
				s.SetFaults(nil, nil)
			}
			for _, user := range w.users {
				w.h.syncUntil(user, w.boxes[user]...)
				w.h.expectSame(user, w.boxes[user]...)
				for _, box := range w.boxes[user] {
					w.hasBodies(box)
				}
			}
			if w.oks < 8 {
				t.Errorf("%d mailboxes were checked", w.oks)
			}
		})
	}
}

// seeds returns how many runs of TestSeveralAtRandom there are.
func seeds() int {
	if testing.Short() || raceEnabled {
		return 2
	}
	return 6
}
