package imapdest

import (
	"fmt"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/cyrusbackup/backupd/internal/restore"
)

type fetched = imapclient.FetchMessageBuffer

// sending is a message that was sent and not read back yet.
type sending struct {
	held
	m      *restore.Message
	expect *expectation
	flags  []string // flags that it should have
}

// lookBack checks the sent messages: their sizes, flags and dates, and the bytes of
// messages that the server may have changed in a new way.
func (v *visit) lookBack() error {
	list := v.sending
	v.sending = nil
	if len(list) == 0 {
		return nil
	}
	shown, err := v.shown(list)
	if err != nil {
		return err
	}
	unsure := map[imap.UID]*sending{}
	for i := range list {
		x := &list[i]
		got := shown[x.uid]
		if got == nil {
			v.rep.Fail(fmt.Errorf("%s: uid %d (message %s): %s accepted it as uid %d but does not list it", v.f.Name, x.m.UID, x.guid, v.box.name, x.uid))
			continue
		}
		v.compare(x, got)
		if !v.settled(x) {
			unsure[x.uid] = x
		}
	}
	return v.readBack(unsure)
}

// shown asks the server for messages. They are few enough for memory.
func (v *visit) shown(list []sending) (map[imap.UID]*fetched, error) {
	uids := imap.UIDSet{}
	for _, x := range list {
		uids.AddNum(x.uid)
	}
	got, err := v.c.Fetch(uids, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true}).Collect()
	if err != nil {
		return nil, err
	}
	by := make(map[imap.UID]*fetched, len(got))
	for _, m := range got {
		by[m.UID] = m
	}
	return by, nil
}

// compare reports flags that the server dropped silently, counts changed dates, and records the
// message in the journal.
func (v *visit) compare(x *sending, got *fetched) {
	x.size, x.date = got.RFC822Size, got.InternalDate.Unix()
	if x.date != x.m.InternalDate {
		v.dated++
	}
	if lost := without(x.flags, got.Flags); len(lost) > 0 {
		for _, f := range lost {
			v.box.keywords.refuse(f, "the server drops the flag")
		}
		v.report(x.m, lost)
		x.lacks = append(x.lacks, lost...)
	}
	v.box.journal.add(&x.held)
}

// settled reports whether the server's effect on a message is known, and counts the message if
// the server changed it.
func (v *visit) settled(x *sending) bool {
	d, sure := v.behaviour.certain(x.expect)
	honest := !v.sizes.wrong.Load()
	switch {
	case honest && v.behaviour.isStrange():
		if x.size != x.expect.by[0].size {
			v.unknown++
		}
		return true
	case !sure || honest && d.size != x.size:
		return false
	}
	if d.sum != x.guid {
		v.changed++
	}
	return true
}

// readBack reads messages to learn how the server changes them.
func (v *visit) readBack(unsure map[imap.UID]*sending) error {
	if len(unsure) == 0 {
		return nil
	}
	uids := imap.UIDSet{}
	for uid := range unsure {
		uids.AddNum(uid)
	}
	return v.bodies(uids, func(uid imap.UID, d digest) error {
		x := unsure[uid]
		if x == nil {
			return nil
		}
		if d.size != x.size {
			v.sizes.wrong.Store(true)
		}
		switch fits := v.behaviour.learn(x.expect, d); {
		case !fits:
			v.unknown++
		case d.sum != x.guid:
			v.changed++
		}
		return nil
	})
}
