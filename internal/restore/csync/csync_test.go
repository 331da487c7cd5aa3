package csync_test

import (
	"context"
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
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/replication/client"
)

func annotation(entry, value string) dlist.Pair {
	return dlist.P("ANNOTATIONS", dlist.L(dlist.KV(dlist.P("ENTRY", dlist.S(entry)), dlist.P("USERID", dlist.S("")),
		dlist.P("MODSEQ", dlist.N(0)), dlist.P("VALUE", dlist.S(value)))))
}

func backup(t *testing.T) *restoretest.Backup {
	b := restoretest.New(t, "anne")
	inbox := b.Box("user.anne")
	inbox.Extra = []dlist.Pair{annotation("/comment", "note")}
	for i := range 5 {
		inbox.Deliver(restoretest.Mail(fmt.Sprint("m", i%4)), 1600000000+int64(i), []string{`\Seen`, "$Label1"}[:i%3]...)
	}
	b.Box("user.anne.Sent").Deliver(restoretest.Mail("m0"), 1600000000)
	b.Sync()
	return b
}

type setup struct {
	t   *testing.T
	r   *replica
	opt csync.Options
	sel restore.Options
	// problem receives problems; nil fails the test.
	problem func(error)
}

func (s *setup) run(src *restore.Source) (restore.Sums, error) {
	s.t.Helper()
	s.sel.DeletedPrefix = "DELETED"
	if s.sel.Objects == nil {
		s.sel.All = true
	}
	sel, err := src.Select(s.sel)
	if err != nil {
		s.t.Fatal(err)
	}
	var account *restore.Account
	if sel.Account {
		if account, err = src.Account(); err != nil {
			s.t.Fatal(err)
		}
	}
	if s.opt.Target != nil {
		for _, f := range sel.Folders {
			f.Name = s.opt.Target(f.Name)
		}
	}
	if s.opt.Dial == nil {
		s.opt.Dial = s.r.dial(s.t)
	}
	s.opt.DeletedPrefix = "DELETED"
	rep := restoretest.Report(s.t)
	if s.problem != nil {
		rep.Problem = s.problem
	}
	err = csync.New(src, rep, s.opt).Restore(s.t.Context(), sel.Folders, account)
	return rep.Sums(), err
}

func newReplica() *replica { return &replica{boxes: map[string]*box{}} }

// same compares a mailbox of the replica with its source.
func same(t *testing.T, r *replica, x *restoretest.Box, uids bool) {
	t.Helper()
	b := r.boxes[x.Name]
	if b == nil {
		t.Fatalf("%s is missing", x.Name)
	}
	var got, want []string
	line := func(r *cyrus.Record) string {
		if uids {
			return fmt.Sprint(r, r.Flags, r.InternalDate)
		}
		return fmt.Sprint(r.GUID, r.Flags, r.InternalDate)
	}
	for _, r := range b.records {
		got = append(got, line(r))
	}
	for _, r := range x.Live() {
		want = append(want, line(r))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", x.Name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestKeepUIDs(t *testing.T) {
	b := backup(t)
	s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true, Undelete: true}}
	for turn, want := range []restore.Sums{{Added: 6, Folders: 2}, {There: 6, Folders: 2}} {
		got, err := s.run(b.Source(time.Time{}))
		if got.Bytes = 0; err != nil || got != want {
			t.Fatalf("turn %d: %+v, %v", turn, got, err)
		}
		for _, x := range b.Boxes {
			same(t, s.r, x, true)
			f := s.r.boxes[x.Name].fields
			if field(f, "UNIQUEID") != x.UniqueID || field(f, "LAST_UID") != fmt.Sprint(x.LastUID) || field(f, "UIDVALIDITY") != "1700000000" {
				t.Errorf("%s: %v", x.Name, f)
			}
		}
	}
	if s.r.uploads != 4 {
		t.Errorf("%d uploads, want each message once: 4", s.r.uploads)
	}
}

func TestNewUIDs(t *testing.T) {
	b := backup(t)
	s := &setup{t: t, r: newReplica()}
	for range 2 {
		if _, err := s.run(b.Source(time.Time{})); err != nil {
			t.Fatal(err)
		}
		for _, x := range b.Boxes {
			same(t, s.r, x, false)
		}
	}
	if a, _ := dlist.KV(s.r.boxes["user.anne"].fields...).Get("ANNOTATIONS"); len(a.Items) != 1 {
		t.Errorf("annotations: %v", a)
	}
}

func TestOtherPartition(t *testing.T) {
	b := backup(t)
	s := &setup{t: t, r: newReplica(), opt: csync.Options{Partition: "fast"}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	s.r.boxes["user.anne"].set("PARTITION", "slow") // moved in the meantime
	s.r.boxes["user.anne"].records = s.r.boxes["user.anne"].records[:1]
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	same(t, s.r, b.Boxes[0], false)
}

// Messages that are present are neither sent again nor changed. Messages that were expunged since
// are restored with a new uid.
func TestAdditive(t *testing.T) {
	b := backup(t)
	s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	inbox := s.r.boxes["user.anne"]
	lost := inbox.records[1]
	inbox.records = slices.Delete(inbox.records, 1, 2)
	inbox.records[0].Flags = []string{`\Flagged`}
	inbox.set("ACL", "anne\tlr\t")
	got, err := s.run(b.Source(time.Time{}))
	if err != nil || got.Added != 1 || got.There != 5 {
		t.Fatalf("%+v, %v", got, err)
	}
	last := inbox.records[len(inbox.records)-1]
	if last.GUID != lost.GUID || last.UID != 6 || !slices.Equal(inbox.records[0].Flags, []string{`\Flagged`}) || field(inbox.fields, "ACL") != "anne\tlr\t" {
		t.Errorf("%v, first flags %v, ACL %q", last, inbox.records[0].Flags, field(inbox.fields, "ACL"))
	}
}

// A large mailbox is compared without a list: by its CRCs, or because RESERVE reports all messages
// as missing. If neither works, the mailbox is listed.
func TestWithoutList(t *testing.T) {
	b := restoretest.New(t, "anne")
	inbox := b.Box("user.anne")
	for i := range 40 {
		inbox.Deliver(restoretest.Mail(fmt.Sprint("m", i)), 1600000000)
	}
	b.Sync()
	src := b.Source(time.Time{})
	expunge := func(x *box, uid uint32) { x.records[uid-1].Flags = append(x.records[uid-1].Flags, `\Expunged`) }
	remove := func(x *box, uid uint32) { x.records = slices.Delete(x.records, int(uid)-1, int(uid)) }
	for _, c := range []struct {
		name          string
		keep          bool
		lose          func(*box, uint32)
		uid           uint32
		lastUID       string // LAST_UID at the destination afterwards
		changed       bool   // the destination has another change
		comesAs       uint32
		listed, again bool // by the first run, and by the next one
	}{
		{"other mailbox, cleaned up", false, remove, 7, "40", false, 41, false, true},
		{"other mailbox, not cleaned up", false, expunge, 7, "40", false, 41, true, true},
		{"as in the backup except this one", true, remove, 7, "40", false, 41, false, true},
		{"as in the backup except this one, not cleaned up", true, expunge, 7, "40", false, 41, false, true},
		{"changed, cleaned up", true, remove, 7, "40", true, 41, false, true},
		{"changed, not cleaned up", true, expunge, 7, "40", true, 41, true, true},
		{"the newest, whose uid is free", true, remove, 40, "39", false, 40, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: c.keep}}
			if _, err := s.run(src); err != nil {
				t.Fatal(err)
			}
			x := s.r.boxes["user.anne"]
			guid := x.records[c.uid-1].GUID
			c.lose(x, c.uid)
			x.set("LAST_UID", c.lastUID)
			if c.changed {
				x.records[20].Flags = []string{`\Seen`}
			}
			s.sel = restore.Options{Objects: []string{guid.String()}}
			for _, turn := range []struct {
				listed bool
				want   restore.Sums
			}{{c.listed, restore.Sums{Added: 1, Folders: 1}}, {c.again, restore.Sums{There: 1, Folders: 1}}} {
				s.r.log = nil
				got, err := s.run(src)
				if got.Bytes = 0; err != nil || got != turn.want {
					t.Fatalf("%+v, %v; want %+v", got, err, turn.want)
				}
				if slices.Contains(s.r.log, "GET FULLMAILBOX") != turn.listed {
					t.Errorf("listed: %v, want %v: %q", !turn.listed, turn.listed, s.r.log)
				}
			}
			var as []uint32
			for _, r := range s.r.boxes["user.anne"].records {
				if r.GUID == guid && !r.Expunged() {
					as = append(as, r.UID)
				}
			}
			if !slices.Equal(as, []uint32{c.comesAs}) {
				t.Errorf("uid %d, want %d", as, c.comesAs)
			}
		})
	}
}

// A restore that is interrupted at any upload can be completed, without duplicates.
func TestInterrupted(t *testing.T) {
	b := restoretest.New(t, "anne")
	inbox := b.Box("user.anne")
	for i := range 2600 { // three batches
		inbox.Deliver(restoretest.Mail(fmt.Sprint("m", i%2500)), 1600000000)
	}
	b.Sync()
	src := b.Source(time.Time{})
	for _, keep := range []bool{true, false} {
		s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: keep}}
		// After an interruption the server accepts no connection until the restore has ended.
		dial, cuts, died := s.r.dial(t), 0, false
		s.opt.Dial = func(ctx context.Context) (*client.Client, error) {
			if died {
				died = false
				return nil, errors.New("connection refused")
			}
			died = true
			return dial(ctx)
		}
		for s.r.dieAfter = 1500; ; cuts++ {
			if _, err := s.run(src); err == nil {
				break
			}
			if cuts > 20 {
				t.Fatal("the restores never end")
			}
		}
		if cuts == 0 {
			t.Error("no restore was interrupted")
		}
		same(t, s.r, inbox, keep)
	}
}

func TestUndelete(t *testing.T) {
	b := backup(t)
	s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true, Undelete: true}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	const gone = "DELETED.user.anne.Sent.65550A1B"
	s.r.boxes[gone] = s.r.boxes["user.anne.Sent"]
	s.r.boxes[gone].set("MBOXNAME", gone)
	delete(s.r.boxes, "user.anne.Sent")
	if got, err := s.run(b.Source(time.Time{})); err != nil || got.Added != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	same(t, s.r, b.Boxes[1], true)
	// With a moment given, the mailbox is created again and the deleted one stays.
	s.r.boxes[gone] = s.r.boxes["user.anne.Sent"]
	s.r.boxes[gone].set("MBOXNAME", gone)
	delete(s.r.boxes, "user.anne.Sent")
	s.opt.Undelete = false
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	same(t, s.r, b.Boxes[1], true)
	if s.r.boxes[gone] == nil || field(s.r.boxes["user.anne.Sent"].fields, "UNIQUEID") == b.Boxes[1].UniqueID {
		t.Error("the deleted mailbox is missing, or two mailboxes share a uniqueid")
	}
}

func TestFlagsOnly(t *testing.T) {
	b := backup(t)
	s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	inbox := s.r.boxes["user.anne"]
	for _, r := range inbox.records {
		r.Flags = []string{`\Seen`}
	}
	s.opt, s.sel = csync.Options{FlagsOnly: true}, restore.Options{Objects: []string{"user.anne"}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	for i, r := range s.r.boxes["user.anne"].records {
		want := b.Boxes[0].Records[i]
		if !slices.Equal(r.Flags, want.Flags) || r.UID != want.UID {
			t.Errorf("uid %d: %v, want %v", r.UID, r.Flags, want.Flags)
		}
	}
	if got := s.r.boxes["user.anne"].num("HIGHESTMODSEQ"); got != b.Boxes[0].ModSeq+1 {
		t.Errorf("modseq %d, want %d", got, b.Boxes[0].ModSeq+1)
	}
}

// A message that was restored has another uid in the same mailbox.
func TestFlagsOnlyAfterRestore(t *testing.T) {
	b := backup(t)
	s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	inbox := s.r.boxes["user.anne"]
	for _, r := range inbox.records {
		r.UID += 1000
		r.Flags = []string{`\Answered`}
	}
	s.opt, s.sel = csync.Options{FlagsOnly: true}, restore.Options{Objects: []string{"user.anne"}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	for i, r := range s.r.boxes["user.anne"].records {
		if want := b.Boxes[0].Records[i]; !slices.Equal(r.Flags, want.Flags) {
			t.Errorf("uid %d: %v, want %v", r.UID, r.Flags, want.Flags)
		}
	}
}

func TestAccount(t *testing.T) {
	b := backup(t)
	ctx := t.Context()
	ses := b.Session()
	for _, err := range []error{
		ses.ApplySub(ctx, "anne", "user.anne.Sent", true), ses.ApplySub(ctx, "anne", "user.anne", true),
		ses.ApplySieve(ctx, cyrus.Sieve{UserID: "anne", Filename: "main.script", LastUpdate: 1, Content: "keep;"}),
		ses.ApplyQuota(ctx, cyrus.Quota{Root: "user.anne", Fields: []dlist.Pair{dlist.P("ROOT", dlist.S("user.anne")), dlist.P("LIMIT", dlist.N(5))}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true}}
	s.r.users = map[string][]dlist.Pair{"anne": {dlist.P("LSUB", dlist.L(dlist.S("user.anne")))}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	want := []string{"SUB %(USERID anne MBOXNAME user.anne.Sent)",
		"SIEVE %(USERID anne FILENAME main.script LAST_UPDATE 1 CONTENT keep;)", "QUOTA %(ROOT user.anne LIMIT 5)"}
	if !slices.Equal(s.r.items, want) {
		t.Errorf("%q, want %q", s.r.items, want)
	}
}

func TestDryRun(t *testing.T) {
	b := backup(t)
	s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true, DryRun: true}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(s.r.log, func(l string) bool { return !strings.HasPrefix(l, "GET ") }); i >= 0 {
		t.Errorf("a dry run sent %s", s.r.log[i])
	}
}

func TestParallelNewestFirst(t *testing.T) {
	b := restoretest.New(t, "anne")
	for n := range 4 {
		x := b.Box(fmt.Sprint("user.anne.f", n))
		for i := range 1500 {
			x.Deliver(restoretest.Mail(fmt.Sprint(n, "-", i)), 1600000000+int64(i))
		}
	}
	b.Sync()
	s := &setup{t: t, r: newReplica(), opt: csync.Options{Parallel: 3, NewestFirst: true}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	for _, x := range b.Boxes {
		same(t, s.r, x, false)
		if first := s.r.boxes[x.Name].records[0]; first.InternalDate != 1600000000+1500-1024 {
			t.Errorf("%s begins with the message of %d", x.Name, first.InternalDate-1600000000)
		}
	}
}

func TestUnreachable(t *testing.T) {
	b := backup(t)
	want := fmt.Errorf("no server")
	s := &setup{t: t, r: newReplica(), opt: csync.Options{Dial: func(context.Context) (*client.Client, error) { return nil, want }}}
	if _, err := s.run(b.Source(time.Time{})); !errors.Is(err, want) {
		t.Errorf("%v", err)
	}
}

// An unreachable store ends a restore at once with a single error, instead of an error for each
// message.
func TestStoreUnreachable(t *testing.T) {
	b := backup(t)
	src := b.Source(time.Time{})
	b.Fault(func(op, key string) error {
		return &objstore.Error{Op: op, Key: key, Temporary: true, Err: errors.New("connection refused")}
	})
	r := newReplica()
	s := &setup{t: t, r: r}
	sums, err := s.run(src)
	if !objstore.IsTemporary(err) || sums.Problems != 0 {
		t.Errorf("%v, %d problems", err, sums.Problems)
	}
	b.Fault(nil)
	if _, err := s.run(src); err != nil {
		t.Fatal(err)
	}
	for _, x := range b.Boxes {
		same(t, r, x, false)
	}
}

// A message that is too large for memory is restored like any other.
func TestLargeMessage(t *testing.T) {
	for _, keep := range []bool{true, false} {
		b := restoretest.New(t, "anne")
		b.Box("user.anne").Deliver(restoretest.Mail("large")+strings.Repeat("0123456789abcde\r\n", 300_000), 1600000000)
		b.Boxes[0].Deliver(restoretest.Mail("small"), 1600000001)
		b.Sync()
		s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: keep}}
		if got, err := s.run(b.Source(time.Time{})); err != nil || got.Added != 2 {
			t.Errorf("uids kept %v: %+v, %v", keep, got, err)
		}
		same(t, s.r, b.Boxes[0], keep)
	}
}

// Changes since the first part of a restore are kept when the rest follows.
func TestKeepUIDsKeepsChanges(t *testing.T) {
	b := backup(t)
	s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: true}}
	if _, err := s.run(b.Source(time.Time{})); err != nil {
		t.Fatal(err)
	}
	later := map[string]string{"RECENTUID": "5", "RECENTTIME": "1800000000", "LAST_APPENDDATE": "1800000000", "POP3_LAST_LOGIN": "1800000000", "HIGHESTMODSEQ": "99"}
	for k, v := range later {
		s.r.boxes["user.anne"].set(k, v)
	}
	b.Boxes[0].Deliver(restoretest.Mail("late"), 1600000100)
	b.Sync()
	if got, err := s.run(b.Source(time.Time{})); err != nil || got.Added != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	for k, v := range later {
		if got := field(s.r.boxes["user.anne"].fields, k); got != v {
			t.Errorf("%s changed to %s from %s", k, got, v)
		}
	}
}
