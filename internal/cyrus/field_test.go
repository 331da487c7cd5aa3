package cyrus

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// A name becomes part of a key with zero bytes as separators, so a name that does not fit
// in a key must be refused before it is committed.
func TestInvalidNamesAreRefused(t *testing.T) {
	long := strings.Repeat("x", 4096)
	for name, fine := range map[string]bool{long: true, long + "x": false, "user.a\x00b": false} {
		sub := dlist.KV(dlist.P("USERID", dlist.S("anne")), dlist.P("MBOXNAME", dlist.S(name)))
		_, _, subErr := ParseSub(sub)
		annotation := func(mailbox, userid string) error {
			_, err := ParseMailboxAnnotation(dlist.KV(dlist.P("MBOXNAME", dlist.S(mailbox)), dlist.P("ENTRY", dlist.S("/comment")),
				dlist.P("USERID", dlist.S(userid)), dlist.P("VALUE", dlist.S("x"))))
			return err
		}
		for what, err := range map[string]error{"SUB": subErr, "ANNOTATION of it": annotation(name, ""), "ANNOTATION by it": annotation("", name)} {
			if fine && err != nil || !fine && !errors.Is(err, ErrBadParameters) {
				t.Errorf("%s with a name of %d bytes: %v", what, len(name), err)
			}
		}
	}
}
