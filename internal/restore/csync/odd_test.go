package csync_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/csync"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
	"github.com/cyrusbackup/backupd/replication/client"
)

// oddBackup returns a backup with one record of each kind that a server does not accept unchanged,
// among ordinary ones, and the number of messages that can be restored.
func oddBackup(t *testing.T, r *replica) (*restoretest.Backup, *restoretest.Box) {
	b := restoretest.New(t, "anne")
	x := b.Box("user.anne")
	plain := func() { x.Deliver(restoretest.Mail(fmt.Sprint("plain", x.LastUID)), 1600000000, `\Seen`) }
	r.empty, r.poison = map[cyrus.GUID]bool{}, map[cyrus.GUID]bool{}
	for _, date := range []int64{0, -5, 1 << 40} {
		plain()
		x.Deliver(restoretest.Mail(fmt.Sprint("date", date)), date)
	}
	plain()
	x.Deliver(restoretest.Mail("bad keyword"), 1600000000, "a(b", "good")
	x.Deliver(restoretest.Mail("odd flag"), 1600000000, `\Odd`, `\Flagged`, `\flagged`)
	for i := range 130 {
		x.Deliver(restoretest.Mail(fmt.Sprint("keyword", i)), 1600000000, fmt.Sprint("k", i))
	}
	plain()
	r.empty[x.Deliver("", 1600000000).GUID] = true
	plain()
	r.poison[x.Deliver(restoretest.Mail("poison"), 1600000000).GUID] = true
	plain()
	value := "v"
	x.Deliver(restoretest.Mail("bad annotation"), 1600000000, "good").Annotations = []cyrus.Annotation{{Entry: "/bad", Value: &value}}
	x.LastUID += 100
	plain()
	x.Deliver(restoretest.Mail("no modseq"), 1600000000).ModSeq = 0
	x.Records[len(x.Records)-1].LastUpdated = 0
	b.Sync()
	return b, x
}

// An odd record does not prevent others: it is stored as far as the server can, and reported.
func TestOddRecords(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprint("uids kept ", keep), func(t *testing.T) {
			t.Parallel()
			r := newReplica()
			b, x := oddBackup(t, r)
			src := b.Source(time.Time{})
			s := &setup{t: t, r: r, opt: csync.Options{KeepUIDs: keep, DryRun: true}}
			planned := s.problems(src)
			s.opt.DryRun = false
			problems := s.problems(src)
			for _, p := range planned {
				if !slices.Contains(problems, p) {
					t.Errorf("the dry run reports %q, the run does not", p)
				}
			}
			for _, want := range []string{"before 1970", "a date after", `"a(b"`, `\\Odd`, "can have 128 keywords", "an empty message",
				"the server refuses the message", "stored without keywords and annotations"} {
				if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }) {
					t.Errorf("no problem is about %q: %q", want, problems)
				}
			}
			got := map[cyrus.GUID]*cyrus.Record{}
			for _, m := range r.boxes["user.anne"].records {
				got[m.GUID] = m
			}
			for _, want := range x.Records {
				m := got[want.GUID]
				switch {
				case r.empty[want.GUID] || r.poison[want.GUID]:
					if m != nil {
						t.Errorf("uid %d is present", want.UID)
					}
				case m == nil:
					t.Errorf("uid %d is missing", want.UID)
				case keep && m.UID != want.UID, keep && want.InternalDate == 0 && m.InternalDate != 0,
					want.InternalDate == 0 && m.InternalDate > 1, want.InternalDate == 1600000000 && m.InternalDate != want.InternalDate:
					t.Errorf("%+v, want %+v", m, want)
				}
			}
			n := len(r.boxes["user.anne"].records)
			s.problems(src)
			if again := len(r.boxes["user.anne"].records); again != n {
				t.Errorf("%d messages after the second run, %d before it", again, n)
			}
		})
	}
}

// problems runs a restore and returns the reported problems.
func (s *setup) problems(src *restore.Source) []string {
	s.t.Helper()
	var out []string
	s.problem = func(err error) { out = append(out, err.Error()) }
	if _, err := s.run(src); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// Mailboxes that the server refuses, or that crash it, do not affect the others. A server
// that crashes on everything ends the restore.
func TestServerDies(t *testing.T) {
	t.Parallel()
	r := newReplica()
	b := backup(t)
	r.poison = map[cyrus.GUID]bool{}
	for _, m := range b.Boxes[1].Records {
		r.poison[m.GUID] = true
	}
	b.Boxes[0].Records[0].Flags = []string{"x"}
	s := &setup{t: t, r: r, opt: csync.Options{KeepUIDs: true}}
	if n := len(s.problems(b.Source(time.Time{}))); n != 3 { // m0 is in both mailboxes, twice in one
		t.Errorf("%d problems", n)
	}
	if n := len(r.boxes["user.anne"].records); n != 3 {
		t.Errorf("%d messages", n)
	}
	many := restoretest.New(t, "anne")
	all := many.Box("user.anne.All")
	for i := range 100 {
		r.poison[all.Deliver(restoretest.Mail(fmt.Sprint("x", i)), 1600000000).GUID] = true
	}
	many.Sync()
	s = &setup{t: t, r: r, problem: func(error) {}}
	if _, err := s.run(many.Source(time.Time{})); err == nil || errors.Is(err, client.ErrBye) {
		t.Errorf("the restore continues although the server crashes on every message: %v", err)
	}
}

// If a server crashes after it has stored messages, they are stored once.
func TestServerDiesAfterwards(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{true, false} {
		b := restoretest.New(t, "anne")
		x := b.Box("user.anne")
		for i := range 1100 { // two batches
			x.Deliver(restoretest.Mail(fmt.Sprint("m", i%1000)), 1600000000)
		}
		b.Sync()
		s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: keep}}
		s.r.mute = 2
		if got, err := s.run(b.Source(time.Time{})); err != nil || got.Added != 1100 {
			t.Errorf("uids kept %v: %+v, %v", keep, got, err)
		}
		same(t, s.r, x, keep)
	}
}

// A date of 0 is also kept in an existing mailbox.
func TestDateZeroLater(t *testing.T) {
	t.Parallel()
	b := backup(t)
	s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true}}
	for range 2 {
		if _, err := s.run(b.Source(time.Time{})); err != nil {
			t.Fatal(err)
		}
		same(t, s.r, b.Boxes[0], true)
		b.Boxes[0].Deliver(restoretest.Mail("late"), 0)
		b.Sync()
	}
}

// Mail restored to another user gets the ACL of that user's new mailboxes.
func TestOtherOwner(t *testing.T) {
	t.Parallel()
	const daves, bobs = "dave\tlrswipkxtecdan\t", "anne\tlrswipkxtecdan\t"
	acl := func(s string) *string { return &s }
	for _, c := range []struct {
		name, into string
		acl        *string
		want       string
	}{
		{"another user's", "user.dave.Old.2020", nil, daves},
		{"another user's INBOX", "user.erna", nil, "owner's default"},
		{"the same owner", "user.anne.Copy", nil, bobs},
		{"-A wins", "user.dave.Old", acl("x\tlr\t"), "x\tlr\t"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := backup(t)
			value := "mine"
			b.Boxes[0].Records[0].Annotations = []cyrus.Annotation{{Entry: "/comment", UserID: "anne", Value: &value}}
			b.Sync()
			r := newReplica()
			r.boxes["user.dave"] = &box{fields: []dlist.Pair{dlist.P("MBOXNAME", dlist.S("user.dave")), dlist.P("ACL", dlist.S(daves))}}
			s := &setup{t: t, r: r, opt: csync.Options{ACL: c.acl}, sel: restore.Options{Objects: []string{"user.anne"}, Into: c.into}}
			if _, err := s.run(b.Source(time.Time{})); err != nil {
				t.Fatal(err)
			}
			got := r.boxes[c.into]
			if a := field(got.fields, "ACL"); a != c.want {
				t.Errorf("ACL %q, want %q", a, c.want)
			}
			user, _ := cyrus.Owner(c.into, "", "DELETED")
			for _, m := range got.records {
				for _, a := range m.Annotations {
					if a.UserID != user {
						t.Errorf("an annotation is private to %s, not %s", a.UserID, user)
					}
				}
			}
		})
	}
}
