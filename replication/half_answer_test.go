package replication_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/replication"
)

// half begins answers that it cannot complete.
type half struct{ replication.Session }

func (h half) NewSession(context.Context, replication.Peer) (replication.Session, error) {
	return h, nil
}

func (half) GetFullMailbox(context.Context, string) ([]dlist.Pair, iter.Seq2[*cyrus.Record, error], error) {
	return []dlist.Pair{dlist.P("UNIQUEID", dlist.S("u"))}, func(yield func(*cyrus.Record, error) bool) {
		_ = yield(&cyrus.Record{UID: 1}, nil) && yield(nil, errors.New("block is missing"))
	}, nil
}

func (half) GetFetch(_ context.Context, f cyrus.Fetch) (int64, io.ReadCloser, error) {
	hello := strings.NewReader("hello")
	if f.UID == 1 {
		return 6, io.NopCloser(hello), nil
	}
	return 5, io.NopCloser(io.MultiReader(hello, iotest.ErrReader(errors.New("hash does not match")))), nil
}

func (half) Close() error { return nil }

// An answer that cannot be completed closes the connection: half a FULLMAILBOX
// would make the client change its own mailbox.
func TestHalfAnswer(t *testing.T) {
	for _, command := range []string{
		"GET FULLMAILBOX user.anne",
		"GET FETCH %(MBOXNAME m PARTITION p UNIQUEID u GUID " + guidHello + " UID 1)",
		"GET FETCH %(MBOXNAME m PARTITION p UNIQUEID u GUID " + guidHello + " UID 2)",
	} {
		b := dial(t, newServer(t, half{}, nil), replication.ConnOptions{Unix: true})
		if got := b.do(command); !strings.HasPrefix(got, "closed") {
			t.Fatalf("%s: %q", command, got)
		}
		if err := <-b.ended; err == nil {
			t.Errorf("%s: ServeConn returned nil", command)
		}
	}
}
