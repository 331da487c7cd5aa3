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

// Peer describes the client, for logs and for the history.
type Peer struct {
	ID      string // of the connection, unique within this process
	Service string // name in cyrus.conf
	Addr    string // "name [ip]", "[ip]" or "[unix socket]"
	User    string // authenticated user
	Unix    bool   // through a UNIX socket, without a login
	Client  string // known facts about the client's software; may be empty
}

// Emit writes one untagged reply line: * KEY value. The caller may reuse the memory of v
// afterwards.
type Emit func(key string, v dlist.Value) error

// Session stores and returns the data. The server makes one per connection and calls it
// from one goroutine, one command at a time. A nil error from a method that changes state
// means that the change is durable (design.md, promise 1). An error that matches a sentinel
// of package cyrus becomes the client's answer (docs/errors.md); any other error is logged
// and becomes "NO Unknown error" or a closed connection. The Session has already logged
// errors that match cyrus.ErrUnavailable.
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

	// Reserve returns the guids that are not stored, in the order of the request.
	Reserve(ctx context.Context, partition string, names []string, guids []cyrus.GUID) ([]cyrus.GUID, error)
	// Message stages one message. body yields exactly size bytes or fails. Message reads
	// body to its end or returns an error; the caller then skips the rest. If guid is not
	// the SHA-1 of the bytes, it returns cyrus.ErrBadParameters and stores nothing.
	Message(ctx context.Context, partition string, guid cyrus.GUID, size int64, body io.Reader) error
	// MessageUnreadable records that the client sent NIL in place of a file.
	MessageUnreadable(ctx context.Context) error

	// ApplyMailbox applies head and records, all or nothing. It iterates over records once,
	// to the end unless it returns an error. Each record is valid until the iteration
	// continues. A record that cannot be parsed is yielded as an error.
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
	// ApplyForce is APPLY FORCE: from now on accept changes that a check would refuse.
	ApplyForce(ctx context.Context) error

	// Restart ends the unit of work: it releases locks and staging. It never fails.
	Restart(ctx context.Context)
	// Close is like Restart, at the end of the connection.
	Close() error
}
