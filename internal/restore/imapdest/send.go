package imapdest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/cyrusbackup/backupd/internal/restore"
)

// send appends a message. Its bytes are sent only once; flags that the folder may refuse are set
// separately.
func (v *visit) send(w want, m *restore.Message, b *restore.Body, e *expectation) error {
	k := v.box.keywords
	flags := k.sort(m.Flags)
	later := slices.Concat(flags.ask, flags.lost)
	if len(later) > 0 {
		v.box.journal.about(m.GUID, later)
	}
	data, err := v.append(m, b, flags.now)
	if answered(err) != nil {
		v.refuse(w, fmt.Errorf("the server refuses the message: %s", plain(err)))
		return nil
	}
	if err != nil {
		return err
	}
	v.added++
	v.rep.Added(1, b.Size)
	uid := data.UID
	if uid == 0 && len(flags.ask) > 0 {
		if uid, err = v.locate(e); err != nil {
			return err
		}
	}
	if uid == 0 {
		for _, f := range flags.ask {
			k.refuse(f, "the server does not report the uid of the message")
		}
		v.report(m, later)
		return nil
	}
	x := sending{m: m, expect: e, flags: flags.now, held: held{uid: uid, guid: m.GUID, lacks: later}}
	v.box.journal.add(&x.held)
	set, lost, err := v.ask(uid, flags.ask)
	if err != nil {
		return err
	}
	x.flags, x.lacks = slices.Concat(flags.now, set), slices.Concat(flags.lost, lost)
	v.report(m, x.lacks)
	v.sending = append(v.sending, x)
	return nil
}

// locate finds the uid of the message that was just sent to a server without UIDPLUS, by its
// bytes, among the messages that arrived since. 0 = not found.
func (v *visit) locate(e *expectation) (imap.UID, error) {
	top := v.box.top
	var found imap.UID
	err := v.bodies(imap.UIDSet{{Start: top + 1, Stop: 0}}, func(uid imap.UID, d digest) error {
		v.box.top = max(v.box.top, uid)
		if uid > top && slices.Contains(e.by[:], d) {
			found = max(found, uid)
		}
		return nil
	})
	return found, err
}

func (v *visit) append(m *restore.Message, b *restore.Body, flags []string) (*imap.AppendData, error) {
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	cmd := v.c.Append(v.box.name, b.Size, &imap.AppendOptions{Flags: asFlags(flags), Time: sendable(m.InternalDate)})
	_, err := io.Copy(cmd, b)
	if closed := cmd.Close(); err == nil {
		err = closed
	}
	data, waited := cmd.Wait()
	if answered(waited) != nil || err == nil {
		return data, waited // the server's response explains a failed write best
	}
	return data, err
}

// latest is the last date that 32-bit servers can store.
const latest = 1<<32 - 1

// sendable returns a date that IMAP can express and servers accept. Some servers refuse a message
// with a date before 1970, or treat 0 as no date.
func sendable(sec int64) time.Time {
	t := time.Unix(max(sec, 1), 0).UTC()
	if t.Year() > 9999 || t.Year() < 1970 {
		return time.Unix(latest, 0).UTC()
	}
	return t
}

// ask sets flags that the folder may refuse, one by one, and returns the accepted ones.
func (v *visit) ask(uid imap.UID, flags []string) (set, lost []string, err error) {
	for _, f := range flags {
		got, err := v.c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.Flag(f)}}, nil).Collect()
		refused := answered(err)
		switch {
		case refused != nil:
			v.box.keywords.refuse(f, plain(refused))
		case err != nil:
			return nil, nil, err
		case dropped(got, uid, f):
			v.box.keywords.refuse(f, "the server drops the flag")
		default:
			v.box.keywords.took(f)
			set = append(set, f)
			continue
		}
		lost = append(lost, f)
	}
	return set, lost, nil
}

func dropped(got []*fetched, uid imap.UID, flag string) bool {
	for _, m := range got {
		if m.UID == uid && len(without([]string{flag}, m.Flags)) > 0 {
			return true
		}
	}
	return false
}

// complete sets the flags that a message did not get when it was sent.
func (v *visit) complete(h *held, m *restore.Message) error {
	flags := v.box.keywords.sort(h.lacks)
	if v.opt.DryRun {
		v.report(m, flags.lost)
		return nil
	}
	_, lost, err := v.ask(h.uid, slices.Concat(flags.now, flags.ask))
	if err != nil {
		return err
	}
	h.lacks = slices.Concat(flags.lost, lost)
	v.report(m, h.lacks)
	v.box.journal.add(h)
	return nil
}

// report reports the flags that a message lacks at the server.
func (v *visit) report(m *restore.Message, lost []string) {
	if len(lost) == 0 {
		return
	}
	is := "is"
	if v.opt.DryRun {
		is = "would be"
	}
	v.rep.Fail(fmt.Errorf("%s: uid %d (message %s) %s without %s", v.f.Name, m.UID, m.GUID, is, v.box.keywords.reasons(lost)))
}

// plain returns the server's text without the library's prefix.
func plain(err error) string {
	refused := answered(err)
	if refused == nil || strings.TrimSpace(refused.Text) == "" {
		return fmt.Sprint(err)
	}
	return strings.TrimSpace(refused.Text)
}
