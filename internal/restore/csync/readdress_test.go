package csync_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore/csync"
)

// If all mailboxes of anne are restored to dave, the account data is too.
func TestAccountOfOtherUser(t *testing.T) {
	t.Parallel()
	b := backup(t)
	ctx, ses, value := t.Context(), b.Session(), "v"
	for _, err := range []error{
		ses.ApplySub(ctx, "anne", "user.anne.Sent", true), ses.ApplySub(ctx, "anne", "club", true), ses.ApplySub(ctx, "anne", "user.erna", true),
		ses.ApplySieve(ctx, cyrus.Sieve{UserID: "anne", Filename: "main.script", LastUpdate: 1, Content: "keep;"}),
		ses.ApplyActivateSieve(ctx, "anne", "main.script"),
		ses.ApplyQuota(ctx, cyrus.Quota{Root: "user.anne", Fields: []dlist.Pair{dlist.P("ROOT", dlist.S("user.anne")), dlist.P("LIMIT", dlist.N(5))}}),
		ses.ApplyAnnotation(ctx, cyrus.MailboxAnnotation{Mailbox: "user.anne", Entry: "/x", UserID: "anne", Value: &value}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, keep := range []bool{true, false} {
		s := &setup{t: t, r: newReplica(), opt: csync.Options{KeepUIDs: keep, Target: func(name string) string {
			if rest, ok := strings.CutPrefix(name, "user.anne"); ok {
				return "user.dave" + rest
			}
			return name
		}}}
		if _, err := s.run(b.Source(time.Time{})); err != nil {
			t.Fatal(err)
		}
		want := []string{"SUB %(USERID dave MBOXNAME user.dave.Sent)", "SUB %(USERID dave MBOXNAME club)", "SUB %(USERID dave MBOXNAME user.erna)",
			"SIEVE %(USERID dave FILENAME main.script LAST_UPDATE 1 CONTENT keep;)", "ACTIVATE_SIEVE %(USERID dave FILENAME main.script)",
			"QUOTA %(ROOT user.dave LIMIT 5)", "ANNOTATION %(MBOXNAME user.dave ENTRY /x USERID dave VALUE v)"}
		var got []string
		for _, i := range s.r.items {
			if !strings.Contains(i, "/comment") { // belongs to the mailbox itself
				got = append(got, i)
			}
		}
		for _, l := range [][]string{got, want} {
			slices.Sort(l)
		}
		if !slices.Equal(got, want) {
			t.Errorf("uids kept %v:\n%s\nwant\n%s", keep, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if acl := field(s.r.boxes["user.dave"].fields, "ACL"); acl != "owner's default" {
			t.Errorf("uids kept %v: ACL %q", keep, acl)
		}
	}
}
