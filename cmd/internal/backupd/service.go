package backupd

import (
	"context"
	"log/slog"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
)

// service runs in the process. backups.go has the real service; tests have another.
type service interface {
	// Index returns the directory that only one process at a time may open.
	Index() string
	// Fingerprint names everything that processes with the same index must agree on: the
	// partitions and the index. It contains no secrets, because errors show it.
	Fingerprint() string
	// Open opens the index and everything that depends on it. It is called at most once, when
	// this process owns the index. Open waits for an unreachable store. An error ends the
	// process; an administrator must fix it.
	Open(ctx context.Context) error
	// Serve serves one connection: it greets, authenticates, and calls index before the first
	// command that needs the index. index waits for Open and returns an error if Open will not
	// succeed. A closed draining asks for the end at the next command boundary; a cancelled
	// ctx ends the connection at once.
	Serve(ctx context.Context, c *master.Conn, index func(context.Context) error, draining <-chan struct{})
	// Reload applies a new configuration, or nothing of it. master.ErrRecycle means that the
	// change needs a new process.
	Reload(ctx context.Context, conf *imapconf.File) error
	// Stays reports whether a process that has opened the index stays while it is idle.
	Stays() bool
	// Close closes what Open opened. It is called when no session is running.
	Close() error
}

// environment holds what a service needs from the process.
type environment struct {
	name    string // of the service, CYRUS_SERVICE
	conf    *imapconf.File
	log     *slog.Logger
	observe func(connection)    // called at the start, login and end of each session
	end     func(reason string) // ends the process at the next command boundaries; master starts another
}

// connection is an entry of the process registry.
type connection struct {
	id    string
	host  string
	user  string // "" before login
	ended bool
}
