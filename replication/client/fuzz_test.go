package client

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// hostileServer answers with bytes whatever it is asked.
type hostileServer struct {
	io.Reader
	io.Writer
	io.Closer
}

// FuzzReply gives the client, which restores with it, the bytes of a hostile mail server. A connection whose next answer
// has no certain start is not used again.
func FuzzReply(f *testing.F) {
	const banner = "* SASL PLAIN\r\n* COMPRESS DEFLATE\r\n* OK backup Cyrus sync server 3.6\r\n"
	f.Add([]byte(banner + "* MAILBOX %(UNIQUEID x)\r\n* LSUB (a b)\r\nOK Success\r\nOK fine\r\n"))
	f.Add([]byte(banner + "* SEEN %(USERID a UNIQUEID b LASTREAD 1 LASTUID 1 LASTCHANGE 1 SEENUIDS {3+}\r\n1:2)\r\n* SIEVE %(FILENAME f LAST_UPDATE 1 GUID x ISACTIVE 1)\r\nOK\r\nNO IMAP_MAILBOX_LOCKED x\r\n"))
	f.Add([]byte("* Fatal error: no\r\n"))
	f.Add([]byte("* OK x {99999999999}\r\n* LSUB ({2147483647+}\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// A connection has buffers of 64 KiB, and a literal is allocated as it arrives.
		fuzztest.Within(t, 2<<20+2<<10*int64(len(b)), func() {
			c := newClient(hostileServer{bytes.NewReader(b), io.Discard, io.NopCloser(strings.NewReader(""))})
			if err := c.readBanner(); err != nil {
				return
			}
			for range 4 {
				broken := c.Broken()
				_, err := c.GetUser(t.Context(), "anne")
				if broken && err == nil {
					t.Fatal("a broken connection answers")
				}
				_, _ = c.GetMailboxes(t.Context(), []string{"user.anne"})
				_ = c.Noop(t.Context())
			}
		})
	})
}
