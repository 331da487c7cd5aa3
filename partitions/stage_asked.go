package partitions

import (
	"encoding/binary"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// askedFor are the messages that the client was asked for last, in order. The index did not
// have them a moment ago, so it need not be asked again for each one when it arrives, unless its
// filter shows that another connection may have stored it meanwhile. A part of the GUID is enough:
// at worst a message is stored twice.
type askedFor struct {
	list []uint64
	next int // the client sends them in this order
}

const (
	// maxAsked limits the memory of a connection to 128 KiB.
	maxAsked = 1 << 14
	// askedAhead is how many messages the client may leave out, because they vanished.
	askedAhead = 8
)

func shortGUID(g cyrus.GUID) uint64 { return binary.BigEndian.Uint64(g[:]) }

// ask adds messages. Those that exceed the limit are looked up when they arrive.
func (a *askedFor) ask(missing []cyrus.GUID) {
	if a.next == len(a.list) {
		a.list, a.next = a.list[:0], 0
	}
	for _, g := range missing[:min(len(missing), maxAsked-len(a.list))] {
		a.list = append(a.list, shortGUID(g))
	}
}

// expects reports whether the client was asked for the message and has not sent it since.
func (a *askedFor) expects(g cyrus.GUID) bool {
	s := shortGUID(g)
	for i := a.next; i < len(a.list) && i < a.next+askedAhead; i++ {
		if a.list[i] == s {
			a.next = i + 1
			return true
		}
	}
	return false
}

// forget clears the list and releases its memory.
func (a *askedFor) forget() { *a = askedFor{} }
