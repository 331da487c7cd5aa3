package cyrus

import (
	"bufio"
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

const (
	fuzzBase    = 256 << 10
	fuzzPerByte = 1 << 10
)

// FuzzRecord reads a record from the wire. Its JSON is the same record, in one form.
func FuzzRecord(f *testing.F) {
	const head = "%(UID 1 MODSEQ 4 LAST_UPDATED 5 FLAGS (\\Seen $x) INTERNALDATE 6 SIZE 5 GUID aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
	f.Add([]byte(head + ")\r\n"))
	f.Add([]byte(head + " ANNOTATIONS (%(ENTRY /comment USERID anne VALUE {3+}\r\na\xffb MODSEQ 7)) FUTURE %(A NIL))\r\n"))
	f.Add([]byte(head + " UID 2)\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Within(t, fuzzBase+fuzzPerByte*int64(len(b)), func() {
			d := dlist.NewDecoder(bufio.NewReaderSize(bytes.NewReader(b), 16), dlist.Limits{})
			r, err := ReadRecord(d)
			if err != nil {
				return
			}
			line := AppendJSON(nil, r)
			var again Record
			if err := json.Unmarshal(line, &again); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if second := AppendJSON(nil, &again); !bytes.Equal(line, second) {
				t.Fatalf("%s became %s", line, second)
			}
		})
	})
}

// FuzzRecordJSON reads a record of a bucket. The fast reader and encoding/json agree.
func FuzzRecordJSON(f *testing.F) {
	f.Add([]byte(`{"uid":1,"modseq":"4","last_updated":5,"flags":["\\Seen"],"internaldate":6,"size":5,"guid":"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"}`))
	f.Add([]byte(`{"uid":1,"modseq":"18446744073709551615","last_updated":5,"flags":[{"b64":"/w=="}],"internaldate":6,"size":5,"guid":"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d","annotations":[{"entry":"/c","userid":"","modseq":"0","value":null}],"extra":[["A",{"kv":[["B",null]]}]]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Within(t, fuzzBase+fuzzPerByte*int64(len(b)), func() {
			var fast, slow Record
			if scanRecord(b, &fast) {
				var again bytes.Buffer // white space forces the slow way
				if err := json.Indent(&again, b, "", " "); err != nil || json.Unmarshal(again.Bytes(), &slow) != nil {
					t.Fatalf("%s: accepted by one reader only: %v", b, err)
				}
				if x, y := AppendJSON(nil, &fast), AppendJSON(nil, &slow); !bytes.Equal(x, y) {
					t.Fatalf("%s and %s", x, y)
				}
			}
			if json.Unmarshal(b, &slow) != nil {
				return
			}
			line := AppendJSON(nil, &slow)
			var again Record
			if err := json.Unmarshal(line, &again); err != nil || !bytes.Equal(AppendJSON(nil, &again), line) {
				t.Fatalf("%s became %s, %v", line, AppendJSON(nil, &again), err)
			}
		})
	})
}

// FuzzMailbox reads the fields of a mailbox, as APPLY and as an answer, and the other values of the wire.
func FuzzMailbox(f *testing.F) {
	f.Add([]byte("X %(UNIQUEID u1 MBOXNAME user.anne SYNC_CRC 0 LAST_UID 1 HIGHESTMODSEQ 4 RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 " +
		"POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 7 PARTITION default ACL \"anne\tlrs\t\" OPTIONS P ANNOTATIONS (%(ENTRY /c USERID \"\" VALUE NIL)))\r\n"))
	f.Add([]byte("X %(USERID anne FILENAME f LAST_UPDATE 1 CONTENT x UNIQUEID u LASTREAD 1 LASTUID 2 LASTCHANGE 3 SEENUIDS 1:3 ROOT r GUID (a b) UID (1 2) MBOXNAME m)\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Within(t, fuzzBase+16*fuzzPerByte*int64(len(b)), func() {
			d := dlist.NewDecoder(bufio.NewReaderSize(bytes.NewReader(b), 16), dlist.Limits{})
			if _, err := d.Key(); err != nil {
				return
			}
			v, err := d.Value()
			if err != nil {
				return
			}
			for _, parse := range []func(dlist.Value) error{
				func(v dlist.Value) error { _, err := ParseSeen(v); return err },
				func(v dlist.Value) error { _, err := ParseQuota(v); return err },
				func(v dlist.Value) error { _, err := ParseSieve(v); return err },
				func(v dlist.Value) error { _, _, err := ParseUserFile(v); return err },
				func(v dlist.Value) error { _, err := ParseUser(v); return err },
				func(v dlist.Value) error { _, _, err := ParseSub(v); return err },
				func(v dlist.Value) error { _, err := ParseRename(v); return err },
				func(v dlist.Value) error { _, err := ParseFetch(v); return err },
				func(v dlist.Value) error { _, _, _, err := ParseExpunge(v); return err },
				func(v dlist.Value) error { _, _, _, err := ParseReserve(v); return err },
				func(v dlist.Value) error { _, err := ParseMailboxAnnotation(v); return err },
				func(v dlist.Value) error { _, _, _, err := ParseUnannotation(v); return err },
				func(v dlist.Value) error { _, err := ParseAnnotations(v.Items); return err },
			} {
				_ = parse(v)
			}
			m, _, err := ParseMailbox(v.Pairs)
			reply, rerr := ParseReply(v.Pairs)
			if err == nil && rerr == nil && (m.Name != reply.Name || m.UniqueID != reply.UniqueID) {
				t.Errorf("%+v and %+v", m, reply)
			}
		})
	})
}

// FuzzNames converts names of mailboxes. What a user writes is the name that is listed.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"user.anne.Entw&APw-rfe.a^b", "example.com!user.anne", "DELETED.user.anne.x.5F5E100", "user/anne@example.com", "&-", "&", "&AAA-x", "ü😀"} {
		f.Add(s, true, true)
		f.Add(s, false, false)
	}
	f.Fuzz(func(t *testing.T, s string, slash, domains bool) {
		fuzztest.Within(t, 4*fuzzBase+fuzzPerByte*int64(len(s)), func() {
			if utf8.ValidString(s) && FromUTF7(UTF7(s)) != s {
				t.Errorf("%q became %q", s, FromUTF7(UTF7(s)))
			}
			form := AdminForm{UnixHierarchySep: slash, VirtDomains: domains, DefaultDomain: "example.org"}
			if list := form.Candidates(s); len(list) == 0 || len(list) > 4 {
				t.Errorf("%q: %q", s, list)
			}
			userid, shared := Owner(s, "example.org", "DELETED")
			if (userid == "") == (shared == "") && strings.Trim(s, "!.") != "" && userid != "" {
				t.Errorf("%q belongs to the user %q and to %q", s, userid, shared)
			}
			if name := form.Internal(form.External(s)); domains && plainMailbox(s) && name != s {
				t.Errorf("%q is listed as %q, which is %q", s, form.External(s), name)
			}
		})
	})
}

// plainMailbox reports whether s is a name that Cyrus can have, without a domain.
func plainMailbox(s string) bool {
	return s != "" && !strings.ContainsAny(s, "!@/") && !slices.Contains(strings.Split(s, "."), "")
}

// FuzzGUID parses a GUID.
func FuzzGUID(f *testing.F) {
	f.Add("aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d")
	f.Fuzz(func(t *testing.T, s string) {
		if g, err := ParseGUID(s); err == nil && !strings.EqualFold(g.String(), s) {
			t.Errorf("%q became %s", s, g)
		}
	})
}
