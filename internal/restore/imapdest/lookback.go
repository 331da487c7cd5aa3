package imapdest

import (
	"fmt"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/cyrusbackup/backupd/internal/restore"
)

type fetched = imapclient.FetchMessageBuffer

// sending is a message that was sent and has not been looked at since.
type sending struct {
	held
	m      *restore.Message
	expect *expectation
	flags  []string // that it should have
}

// lookBack asks what became of the messages sent: their sizes, flags and dates, and the
// bytes of those of which it is not known what the server makes of them.
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
			v.rep.Fail(fmt.Errorf("%s: uid %d (message %s): %s took it as uid %d and does not show it", v.f.Name, x.m.UID, x.guid, v.box.name, x.uid))
			continue
		}
		v.compare(x, got)
		if !v.settled(x) {
			unsure[x.uid] = x
		}
	}
	return v.readBack(unsure)
}

// shown asks the server for messages. They are few enough to be held in memory.
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

// compare reports flags that the server dropped silently, counts other dates, and notes
// what the message is known by from now on.
func (v *visit) compare(x *sending, got *fetched) {
	x.size, x.date = got.RFC822Size, got.InternalDate.Unix()
	if x.date != x.m.InternalDate {
		v.dated++
	}
	if lost := without(x.flags, got.Flags); len(lost) > 0 {
		for _, f := range lost {
			v.box.keywords.refuse(f, "the server drops it")
		}
		v.report(x.m, lost)
		x.lacks = append(x.lacks, lost...)
	}
	v.box.journal.add(&x.held)
}

// settled says whether it is known what the server made of a message, and counts it if
// that is not the same bytes.
func (v *visit) settled(x *sending) bool {
	d, sure := v.manners.certain(x.expect)
	honest := !v.sizes.wrong.Load()
	switch {
	case honest && v.manners.isStrange():
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

// readBack learns from messages what the server does.
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
		switch fits := v.manners.learn(x.expect, d); {
		case !fits:
			v.unknown++
		case d.sum != x.guid:
			v.changed++
		}
		return nil
	})
}
