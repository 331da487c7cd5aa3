package partitions_test

import (
	"crypto/sha1"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

func TestItemsAreEchoed(t *testing.T) {
	h := newHost(t, newStore())
	c := h.client()
	ctx := t.Context()
	script := cyrus.Sieve{UserID: "anne", Filename: "main.script", LastUpdate: 1700000000, Content: "keep;\r\n"}
	quota := cyrus.Quota{Root: "user.anne", Fields: []dlist.Pair{dlist.P("ROOT", dlist.S("user.anne")), dlist.P("LIMIT", dlist.N(1000)), dlist.P("MODSEQ", dlist.N(3))}}
	seen := cyrus.Seen{UserID: "anne", UniqueID: "abc", Fields: []dlist.Pair{dlist.P("UNIQUEID", dlist.S("abc")), dlist.P("LASTREAD", dlist.N(1)), dlist.P("SEENUIDS", dlist.S("1:3"))}}
	for _, do := range []func() error{
		func() error { return c.s.ApplyQuota(ctx, quota) },
		func() error { return c.s.ApplySeen(ctx, seen) },
		func() error { return c.s.ApplySub(ctx, "anne", "user.anne", true) },
		func() error { return c.s.ApplySieve(ctx, script) },
		func() error { return c.s.ApplyActivateSieve(ctx, "anne", "main.bc") },
	} {
		for range 2 { // each is safe to repeat
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{
		"QUOTA %(ROOT user.anne LIMIT 1000 MODSEQ 3)",
		"SEEN %(UNIQUEID abc LASTREAD 1 SEENUIDS 1:3)",
		"LSUB (user.anne)",
		"SIEVE %(FILENAME main.script LAST_UPDATE 1700000000 GUID " + cyrus.GUID(sha1.Sum([]byte(script.Content))).String() + " ISACTIVE 0)",
		"SIEVE %(FILENAME main.bc LAST_UPDATE 0 GUID 0000000000000000000000000000000000000000 ISACTIVE 1)",
	}
	_, lines, err := c.getUser("anne")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lines, want) {
		t.Errorf("GET USER returns\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for _, do := range []func() error{
		func() error { return c.s.ApplyUnquota(ctx, "user.anne") },
		func() error { return c.s.ApplySub(ctx, "anne", "user.anne", false) },
		func() error { return c.s.ApplyUnactivateSieve(ctx, "anne") },
		func() error { return c.s.ApplyUnsieve(ctx, "anne", "main.script") },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if _, lines, err = c.getUser("anne"); err != nil || len(lines) != 1 {
		t.Errorf("after the removals: %q, %v; want only the seen state", lines, err)
	}
}

func TestServerAnnotation(t *testing.T) {
	h := newHost(t, newStore())
	c := h.client()
	a := cyrus.MailboxAnnotation{Entry: "/motd", Value: ptr("hello")}
	if err := c.s.ApplyAnnotation(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	var lines []string
	get := func() {
		lines = nil
		if err := c.s.GetAnnotation(t.Context(), "", func(k string, v dlist.Value) error {
			lines = append(lines, k+" "+string(dlist.Append(nil, v, false)))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if get(); len(lines) != 1 || lines[0] != `ANNOTATION %(MBOXNAME "" ENTRY /motd USERID "" VALUE hello)` {
		t.Errorf("%q", lines)
	}
	if err := c.s.ApplyUnannotation(t.Context(), "", "/motd", ""); err != nil {
		t.Fatal(err)
	}
	if get(); len(lines) != 0 {
		t.Errorf("after UNANNOTATION: %q", lines)
	}
}

// GET never creates anything.
func TestGetCreatesNothing(t *testing.T) {
	s, n := counted(newStore())
	h := newHost(t, s)
	c := h.client()
	if _, lines, err := c.getUser("nobody"); err != nil || len(lines) != 0 {
		t.Fatal(lines, err)
	}
	if err := c.s.GetMailboxes(t.Context(), []string{"user.nobody", "shared.x"}, func(string, dlist.Value) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if p := n.Snapshot()["put"].Ops; p != 0 {
		t.Errorf("GET put %d objects", p)
	}
}
