package backupd

import (
	"context"
	"log/slog"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
)

// service is what runs in the process: backups.go has the real one, tests another.
type service interface {
	// Index is the directory that one process at a time may have open.
	Index() string
	// Fingerprint names everything that processes with the same index must agree on:
	// the partitions and the index. No secrets: it is shown when it differs.
	Fingerprint() string
	// Open opens the index and what hangs on it. It is called once at most, when this
	// process has the index to itself. A store that is away is waited for; an error ends
	// the process, for a person to mend.
	Open(ctx context.Context) error
	// Serve serves one connection: greets, authenticates, and calls index before the
	// first command that needs what Open opens. index waits for that and fails if it
	// will not come. Draining asks for the end at the next command boundary, the end of
	// ctx for the end at once.
	Serve(ctx context.Context, c *master.Conn, index func(context.Context) error, draining <-chan struct{})
	// Reload takes on a new configuration, or nothing of it: master.ErrRecycle says that
	// it takes a new process.
	Reload(ctx context.Context, conf *imapconf.File) error
	// Close closes what Open has opened. No session is running any more.
	Close() error
}

// environment is what a service is made from.
type environment struct {
	name    string // of the service, CYRUS_SERVICE
	conf    *imapconf.File
	log     *slog.Logger
	observe func(connection) // hears of each session's begin, login and end
}

// connection is what the process registry shows of a connection.
type connection struct {
	id    string
	host  string
	user  string // "" before login
	ended bool
}
