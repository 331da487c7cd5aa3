package drill

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
	"github.com/cyrusbackup/backupd/replication/client"
	"github.com/cyrusbackup/backupd/replication/client/fakeserver"
)

// restored returns a drill that has restored, before it compares.
func restored(t *testing.T, x *target, p *problems) *inServer {
	t.Helper()
	b := world(t)
	account(t, b)
	d := &inServer{drill: &drill{Options: p.into(x.Server), out: new(Result)}}
	end, err := d.load(t.Context(), b.Found())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = end() })
	if err := d.restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// A server that closes a connection, or has no room, does not make a backup a damaged one.
func TestFaultOfServerIsNoProblem(t *testing.T) {
	b := world(t)
	account(t, b)
	for _, answer := range []string{fakeserver.Drop, "NO Unknown error"} {
		for _, always := range []bool{false, true} {
			for n := 1; ; n++ {
				p, x, failed := new(problems), newTarget(t, "b1"), ""
				x.breaks(func(i int, what string) string {
					if i < n || i > n && !always {
						return ""
					}
					failed = what
					return answer
				})
				out, err := Run(t.Context(), b.Found(), p.into(x.Server))
				x.breaks(nil)
				if failed == "" {
					break
				}
				var fault *ServerError
				if len(p.list)+out.Problems > 0 || err != nil && !errors.As(err, &fault) || err == nil && out.Left == nil && out.Messages != 4 {
					t.Errorf("%s %d (%s), always %v: %+v, %v, %q", answer, n, failed, always, out, err, p.list)
				}
				if err := x.Clear(t.Context(), time.Now()); err != nil {
					t.Errorf("%s %d (%s): %v", answer, n, failed, err)
				}
			}
		}
	}
}

// One item that the server refuses without a reason does not hide the others: all that is there is compared,
// and what differs is a problem of the backup.
func TestFaultHidesNoProblem(t *testing.T) {
	for _, refused := range []string{"APPLY SUB", "APPLY QUOTA", "APPLY SIEVE"} {
		for _, differs := range []bool{false, true} {
			b, p, x := world(t), new(problems), newTarget(t, "b1")
			account(t, b)
			d := &inServer{drill: &drill{Options: p.into(x.Server), out: new(Result)}}
			end, err := d.load(t.Context(), b.Found())
			if err != nil {
				t.Fatal(err)
			}
			x.breaks(func(_ int, what string) string {
				if what == refused {
					return "NO Unknown error"
				}
				return ""
			})
			err = d.restore(t.Context())
			x.breaks(nil)
			if err != nil {
				t.Fatal(err)
			}
			if differs {
				x.do(changed(1, func(r *cyrus.Record) { r.Flags = []string{`\Draft`} }))
			}
			err = d.compare(t.Context())
			d.reportMissing()
			var fault *ServerError
			switch {
			case !differs && (len(p.list) > 0 || !errors.As(err, &fault) || !strings.Contains(err.Error(), "Unknown error") || d.out.Messages != 4),
				differs && (err != nil || len(p.list) != 1 || !strings.Contains(p.list[0], "the server has other flags") || len(p.notes) == 0):
				t.Errorf("%s, differs %v: %v, %q, notes %q, %+v", refused, differs, err, p.list, p.notes, d.out)
			}
			_ = end()
		}
	}
}

// The comparison was done; that the user is left is another finding.
func TestFailedRemoval(t *testing.T) {
	b, x := world(t), newTarget(t, "b1")
	x.breaks(func(_ int, what string) string {
		if what == "GET FETCH" { // the comparison has begun
			x.breaking = func(_ int, what string) string {
				if what == "APPLY UNUSER" {
					return "NO Unknown error"
				}
				return ""
			}
		}
		return ""
	})
	out, err := Run(t.Context(), b.Found(), new(problems).into(x.Server))
	if err != nil || out.Problems > 0 || out.Messages != 4 || out.Left == nil || !strings.Contains(out.Left.Error(), "is left on") {
		t.Errorf("%+v, %v", out, err)
	}
}

// The removal has more time for more messages.
func TestTimeToRemove(t *testing.T) {
	x := newTarget(t, "b1")
	d := restored(t, x, new(problems))
	few := d.removal()
	for range 1000 {
		d.folders = append(d.folders, d.folders[0])
	}
	if many := d.removal(); few <= removeTime || many < few+time.Minute {
		t.Error(few, many)
	}
}

// Somebody else's drill has taken the server: nothing is compared, and that is not a fault of the backup.
func TestReplacedMeanwhile(t *testing.T) {
	for name, replace := range map[string]func(*target){
		"removed": func(x *target) {
			x.do(func(ctx context.Context, c *client.Client) error { return c.ApplyUnuser(ctx, ScratchUser) })
		},
		"another": func(x *target) {
			x.do(func(ctx context.Context, c *client.Client) error { return c.ApplyUnuser(ctx, ScratchUser) })
			_ = restored(x.t, x, new(problems))
		},
		"folder": func(x *target) {
			x.do(func(ctx context.Context, c *client.Client) error { return c.ApplyUnmailbox(ctx, scratchInbox+".a/b") })
			x.give(scratchInbox+".a/b", newMarks("b1").next(time.Now()))
		},
	} {
		p, x := new(problems), newTarget(t, "b1")
		d := restored(t, x, p)
		replace(x)
		var fault *ServerError
		if err := d.compare(t.Context()); !errors.As(err, &fault) || d.out.Problems > 0 {
			t.Errorf("%s: %v, %q", name, err, p.list)
		}
		before := x.has(ScratchUser)
		if err := x.remove(t.Context(), time.Now(), d.put); before != "" && (!errors.Is(err, ErrForeign) || x.has(ScratchUser) != before) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Mail that came for the scratch user during the drill is kept.
func TestMailThatCameMeanwhileIsKept(t *testing.T) {
	x := newTarget(t, "b1")
	d := restored(t, x, new(problems))
	for id, last := range d.put {
		if id == d.inbox {
			d.put[id] = last - 1 // the server has given one uid more than the drill
		}
	}
	before := x.has(ScratchUser)
	err := x.remove(t.Context(), time.Now(), d.put)
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "somebody else has put mail into user.backup-drill:") || x.has(ScratchUser) != before {
		t.Error(err)
	}
	d.put.mayHave(1)
	if err := x.remove(t.Context(), time.Now(), d.put); err != nil || x.has(ScratchUser) != "" {
		t.Error(err)
	}
}

// appended returns a change of the INBOX as by a delivery: a message with the next uids, and its date.
func appended(t *testing.T, uids ...uint32) func(ctx context.Context, c *client.Client) error {
	return func(ctx context.Context, c *client.Client) error {
		var r *cyrus.Record
		fields, err := c.GetFullMailbox(ctx, scratchInbox, func(x *cyrus.Record) error { r = x; return nil })
		if err != nil || r == nil {
			return errors.Join(err, errors.New("no message to copy"))
		}
		var list []*cyrus.Record
		for _, uid := range uids {
			one := *r
			one.UID, one.ModSeq = uid, r.ModSeq+10
			list = append(list, &one)
			fields = with(fields, "LAST_UID", dlist.N(uint64(uid)))
		}
		fields = with(with(fields, "SYNC_CRC", dlist.N(0)), "SYNC_CRC_ANNOT", dlist.N(0))
		return c.ApplyMailbox(ctx, with(fields, "LAST_APPENDDATE", dlist.N(1796041689)), cyrus.Since{}, records(list...))
	}
}

// Mail that comes for the scratch user is no fault of the backup: between the restore and the comparison, and
// during the restore, when the server refuses whatever else the drill sends to that mailbox.
func TestMailDuringDrill(t *testing.T) {
	for name, uids := range map[string][]uint32{"new": {99}, "read and removed": nil} {
		x, p := newTarget(t, "b1"), new(problems)
		d := restored(t, x, p)
		x.do(appended(t, uids...))
		var fault *ServerError
		if err := d.compare(t.Context()); !errors.As(err, &fault) || len(p.list) > 0 || !strings.Contains(err.Error(), "somebody else has put mail") {
			t.Errorf("%s: %v, %q", name, err, p.list)
		}
	}
	for _, delivered := range []bool{true, false} {
		b, x, p := world(t), newTarget(t, "b1"), new(problems)
		x.breaks(func(_ int, what string) string {
			if what != "APPLY MAILBOX" {
				return ""
			}
			// The server here has executed the command that it refuses, so it gets the mail again.
			if breaking := x.breaking; delivered {
				x.breaking = nil
				x.mu.Unlock()
				x.do(appended(t, 99))
				x.mu.Lock()
				x.breaking = breaking
			}
			return "NO IMAP_SYNC_CHECKSUM Checksum Failure"
		})
		out, err := Run(t.Context(), b.Found(), p.into(x.Server))
		x.breaks(nil)
		var fault *ServerError
		if delivered && (out.Problems > 0 || !errors.As(err, &fault) || out.Left == nil || !strings.Contains(x.has(ScratchUser), " 99")) ||
			!delivered && (out.Problems == 0 || out.Left != nil) {
			t.Errorf("delivered %v: %+v, %v, %q", delivered, out, err, p.list)
		}
	}
}

// So is mail that came for the user whom a killed drill has left.
func TestMailForALeftUserIsKept(t *testing.T) {
	x := newTarget(t, "b1")
	d := restored(t, x, new(problems))
	x.do(func(ctx context.Context, c *client.Client) error {
		fields, err := c.GetFullMailbox(ctx, scratchInbox, func(*cyrus.Record) error { return nil })
		if err != nil {
			return err
		}
		if number(fields, "LAST_APPENDDATE") != 0 {
			t.Errorf("the drill has sent %v", fields)
		}
		for _, key := range []string{"SYNC_CRC", "SYNC_CRC_ANNOT"} {
			fields = with(fields, key, dlist.N(0))
		}
		return c.ApplyMailbox(ctx, with(fields, "LAST_APPENDDATE", dlist.N(1796041689)), cyrus.Since{}, records())
	})
	before := x.has(ScratchUser)
	for _, put := range []highest{nil, d.put} {
		err := x.remove(t.Context(), time.Now(), put)
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "somebody else has put mail into user.backup-drill:") || x.has(ScratchUser) != before {
			t.Error(err)
		}
	}
}

// What a server could act on by itself does not get there.
func TestNothingIsSentFromThere(t *testing.T) {
	b, p, x := world(t), new(problems), newTarget(t, "b1")
	account(t, b)
	out := b.Box("user.anne.#jmapsubmission")
	out.Extra = append(out.Extra, dlist.P("MBOXTYPE", dlist.S("s")))
	out.Deliver("pending", 1600000005)
	b.Sync()
	d := &inServer{drill: &drill{Options: p.into(x.Server), out: new(Result)}}
	end, err := d.load(t.Context(), b.Found())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = end() }()
	for _, f := range d.sel.Folders {
		f.From.Fields = with(f.From.Fields, "OPTIONS", dlist.S("PA"))
	}
	if err := errors.Join(d.restore(t.Context()), d.compare(t.Context())); err != nil || len(p.list) > 0 {
		t.Fatal(err, p.list)
	}
	if len(p.notes) != 1 || !strings.Contains(p.notes[0], "user.anne.#jmapsubmission: left out") {
		t.Error(p.notes)
	}
	x.do(func(ctx context.Context, c *client.Client) error {
		u, err := c.GetUser(ctx, ScratchUser)
		if err != nil {
			return err
		}
		for _, m := range u.Mailboxes {
			if text(m.Fields, "OPTIONS") != "P" || strings.Contains(m.Name, "#") {
				t.Errorf("%s has the options %q", m.Name, text(m.Fields, "OPTIONS"))
			}
		}
		if len(u.Mailboxes) != 3 || len(u.Sieve) != 1 || slices.ContainsFunc(u.Sieve, func(s client.SieveInfo) bool { return s.Active }) {
			t.Errorf("%d mailboxes, scripts %+v", len(u.Mailboxes), u.Sieve)
		}
		return nil
	})
}

// A mailbox keeps its mark although the backup has no uidvalidity or modseq of it.
func TestFieldsForTheMark(t *testing.T) {
	fields := harmless([]dlist.Pair{dlist.P("HIGHESTMODSEQ", dlist.N(0)), dlist.P("OPTIONS", dlist.S("SDA"))})
	if number(fields, "HIGHESTMODSEQ") != 1 || number(fields, "UIDVALIDITY") != 1 || text(fields, "OPTIONS") != "SD" {
		t.Error(fields)
	}
	fields = harmless([]dlist.Pair{dlist.P("HIGHESTMODSEQ", dlist.N(7)), dlist.P("UIDVALIDITY", dlist.N(8))})
	if number(fields, "HIGHESTMODSEQ") != 7 || number(fields, "UIDVALIDITY") != 8 {
		t.Error(fields)
	}
}

// A record that gets lost between the backup and the restore is found by the checksum that the backup keeps.
func TestLostRecordIsFound(t *testing.T) {
	b, p, x := world(t), new(problems), newTarget(t, "b1")
	d := &inServer{drill: &drill{Options: p.into(x.Server), out: new(Result)}}
	end, err := d.load(t.Context(), b.Found())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = end() }()
	d.sel.Folders[0].Messages = d.sel.Folders[0].Messages[1:]
	if err := errors.Join(d.restore(t.Context()), d.compare(t.Context())); err != nil {
		t.Fatal(err)
	}
	if len(p.list) != 1 || !strings.Contains(p.list[0], "user.anne: the CRC of the server is") {
		t.Error(p.list)
	}
}

// A backup of which nothing is restored is not equal to anything.
func TestNothingToRestore(t *testing.T) {
	b := restoretest.New(t, "anne")
	out := b.Box("user.anne.#jmapsubmission")
	out.Extra = append(out.Extra, dlist.P("MBOXTYPE", dlist.S("s")))
	out.Deliver("pending", 1600000005)
	b.Sync()
	p, x := new(problems), newTarget(t, "b1")
	if got, err := Run(t.Context(), b.Found(), p.into(x.Server)); err != nil || !got.Nothing || len(p.list) > 0 {
		t.Errorf("%+v, %v, %q", got, err, p.list)
	}
	if got, err := Run(t.Context(), b.Found(), p.options(t.TempDir())); err != nil || got.Nothing || got.Messages != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}
