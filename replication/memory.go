package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// A command whose argument takes more than 64 KiB borrows memory that all connections share
// (dlist.Loans). A connection that has borrowed must keep sending, so that a silent one cannot keep
// the memory from the others for as long as SyncTimeout.
const (
	// loanWait is how long a command waits for memory before the client has to try again later.
	loanWait = 10 * time.Second
	// loanRate is what a client with borrowed memory must send, in bytes a second, when its
	// Patience is used up.
	loanRate = 16 << 10
	// bodyRate is the same for the body of a message, which may take the memory of a chunk. Ten
	// times Patience applies there: the body may come over a bad line.
	bodyRate = 1 << 10
)

// errTooSlow ends a connection that has borrowed memory and sends too little.
var errTooSlow = errors.New("the client sends too slowly for a command that takes shared memory")

// errTooMuch refuses a command that would take more than all memory there is for commands.
var errTooMuch = errors.New("more than backup_memory_limit leaves for commands")

// CommandMemory limits what the arguments of all running commands may take together, beyond 64 KiB for
// each connection. Bodies of messages are not included. The Servers of a process share one.
type CommandMemory struct {
	size int64
	free *semaphore.Weighted
}

// NewCommandMemory returns a CommandMemory of so many bytes.
func NewCommandMemory(bytes int64) *CommandMemory {
	return &CommandMemory{size: bytes, free: semaphore.NewWeighted(bytes)}
}

// loans returns the limits of the connection's commands.
func (c *conn) loans() dlist.Limits {
	l := c.srv.opt.Limits
	l.Loans = dlist.Loans{Lend: c.lend, Return: c.giveBack}
	return l
}

// lend borrows n bytes for the current command.
func (c *conn) lend(n int64) error {
	memory := c.srv.opt.CommandMemory
	if c.lent+n > memory.size {
		return fmt.Errorf("%w: %d bytes", errTooMuch, memory.size)
	}
	if !memory.free.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(c.commands, loanWait)
		defer cancel()
		if err := memory.free.Acquire(ctx, n); err != nil {
			return &sessionError{fmt.Errorf("%w: other clients have the memory for commands: %w", cyrus.ErrLocked, err)}
		}
	}
	c.lent += n
	c.transport.hurry(c.srv.opt.Patience, loanRate)
	return nil
}

// giveBack returns n borrowed bytes.
func (c *conn) giveBack(n int64) {
	c.srv.opt.CommandMemory.free.Release(n)
	if c.lent -= n; c.lent == 0 {
		c.transport.hurry(0, 0)
	}
}

// hurryBody calls fn, which reads the body of a message.
func (c *conn) hurryBody(fn func() error) error {
	if c.lent == 0 {
		c.transport.hurry(10*c.srv.opt.Patience, bodyRate)
		defer c.transport.hurry(0, 0)
	}
	return fn()
}
