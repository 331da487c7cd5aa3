package replication

import (
	"context"
	"io"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Backend makes a Session for each connection that has logged in.
type Backend interface {
	NewSession(ctx context.Context, peer Peer) (Session, error)
}

// Peer is who is at the other end, for logs and for the history.
type Peer struct {
	ID      string // of the connection, unique in this process's life
	Service string // name in cyrus.conf
	Addr    string // "name [ip]", "[ip]" or "[unix socket]"
	User    string // authenticated user
	Client  string // what is known of the client's software; may be empty
}

// Emit writes one untagged reply line: * KEY value.
type Emit func(key string, v dlist.Value) error

// Session is what the server asks of whoever keeps the data, one per connection,
// called by one goroutine, one command at a time. A nil error from a method that
// changes state means durable (design.md, promise 1). Errors that match a sentinel
// of package cyrus become the client's answer (docs/errors.md); any other is logged and
// becomes "NO Unknown error" or a closed connection. What matches cyrus.ErrUnavailable has
// been logged by the Session.
type Session interface {
	GetUser(ctx context.Context, userid string, emit func(string, dlist.Value) error) error
	GetMeta(ctx context.Context, userid string, emit func(string, dlist.Value) error) error
	GetMailboxes(ctx context.Context, names []string, emit func(string, dlist.Value) error) error
	GetUniqueIDs(ctx context.Context, ids []string, emit func(string, dlist.Value) error) error
	// GetFullMailbox returns the fields of the mailbox and its records; the caller ranges once.
	GetFullMailbox(ctx context.Context, name string) ([]dlist.Pair, iter.Seq2[*cyrus.Record, error], error)
	GetQuota(ctx context.Context, root string, emit func(string, dlist.Value) error) error
	GetAnnotation(ctx context.Context, mailbox string, emit func(string, dlist.Value) error) error
	GetFetch(ctx context.Context, f cyrus.Fetch) (size int64, body io.ReadCloser, err error)
	GetFetchSieve(ctx context.Context, userid, filename string, emit func(string, dlist.Value) error) error

	// Reserve returns those of guids that are not held, in the order asked.
	Reserve(ctx context.Context, partition string, names []string, guids []cyrus.GUID) ([]cyrus.GUID, error)
	// Message stages one message. body yields exactly size bytes or fails. It reads body
	// to its end or returns an error; the caller then skips the rest. A GUID that is not
	// the SHA-1 of the bytes is cyrus.ErrBadParameters, with nothing kept.
	Message(ctx context.Context, partition string, guid cyrus.GUID, size int64, body io.Reader) error
	// MessageUnreadable notes that the client sent NIL in place of a file.
	MessageUnreadable(ctx context.Context) error

	// ApplyMailbox applies head and records, all or nothing. records is ranged over once, to
	// its end unless an error is returned; a record it cannot parse is yielded as an error.
	ApplyMailbox(ctx context.Context, mb *cyrus.Mailbox, since cyrus.Since, records iter.Seq2[*cyrus.Record, error]) error
	ApplyExpunge(ctx context.Context, name, uniqueid string, uids []uint32) error
	ApplyRename(ctx context.Context, r cyrus.Rename) error
	ApplyUnmailbox(ctx context.Context, name string) error
	ApplySeen(ctx context.Context, s cyrus.Seen) error
	ApplySub(ctx context.Context, userid, mailbox string, subscribe bool) error
	ApplySieve(ctx context.Context, s cyrus.Sieve) error
	ApplyUnsieve(ctx context.Context, userid, filename string) error
	ApplyActivateSieve(ctx context.Context, userid, filename string) error
	ApplyUnactivateSieve(ctx context.Context, userid string) error
	ApplyQuota(ctx context.Context, q cyrus.Quota) error
	ApplyUnquota(ctx context.Context, root string) error
	ApplyAnnotation(ctx context.Context, a cyrus.MailboxAnnotation) error
	ApplyUnannotation(ctx context.Context, mailbox, entry, userid string) error
	ApplyUnuser(ctx context.Context, userid string) error
	// ApplyForce is APPLY FORCE: accept what a check would refuse, from now on.
	ApplyForce(ctx context.Context) error

	// Restart ends the unit of work: locks and staging are given up. It never fails.
	Restart(ctx context.Context)
	// Close is Restart at the end of the connection.
	Close() error
}
