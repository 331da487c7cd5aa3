package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/replay/internal/source"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/replication/client"
)

// user is one user's mail. A round pushes a part of it.
type user struct {
	id      string
	folders []source.Folder
}

// plan describes what to push, and how.
type plan struct {
	users       []user
	top         []string // mailbox for the source's top; empty = INBOX
	connections int
	dial        func(ctx context.Context, observe func(string, time.Duration, time.Duration)) (*client.Client, error)
	// part returns the number of a folder's messages that exist in a round.
	part func(f source.Folder, round int) int
}

// round pushes everything once. Each free connection takes the next user. A failed user does
// not stop the others, as in sync_client -A.
func (p *plan) round(ctx context.Context, n int) *Round {
	res := newRound()
	todo := make(chan user)
	var wg sync.WaitGroup
	start := time.Now()
	for range min(p.connections, len(p.users)) {
		wg.Go(func() {
			w := &worker{plan: p, round: n, res: res}
			for u := range todo {
				if err := w.push(ctx, u); err != nil {
					res.fail(u.id, err)
					w.hangUp()
				}
			}
			w.exit(ctx)
		})
	}
	for _, u := range p.users {
		todo <- u
	}
	close(todo)
	wg.Wait()
	res.finish(time.Since(start))
	return res
}

// worker uses one connection at a time.
type worker struct {
	plan  *plan
	round int
	res   *Round
	c     *client.Client
}

func (w *worker) push(ctx context.Context, u user) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.c == nil {
		c, err := w.plan.dial(ctx, w.res.observe)
		if err != nil {
			return err
		}
		w.c = c
	}
	mailboxes := make([]*client.Mailbox, len(u.folders))
	for i, f := range u.folders {
		mailboxes[i] = mailboxOf(u.id, w.plan.top, f, w.plan.part(f, w.round))
	}
	state, err := w.c.SyncUser(ctx, u.id, mailboxes, func(_ *cyrus.Mailbox, r client.Result) error {
		w.res.add(r)
		return errors.Join(r.Unreadable...)
	})
	if err != nil {
		return err
	}
	if err := w.subscribe(ctx, u.id, mailboxes, state.Subs); err != nil {
		return err
	}
	return w.c.Restart(ctx)
}

// subscribe subscribes the user to mailboxes that are not yet subscribed.
func (w *worker) subscribe(ctx context.Context, userid string, mailboxes []*client.Mailbox, subs []string) error {
	for _, m := range mailboxes {
		name, _, err := dlist.KV(m.Fields...).Text("MBOXNAME")
		if err != nil {
			return err
		}
		if slices.Contains(subs, name) {
			continue
		}
		if err := w.c.ApplySub(ctx, userid, name); err != nil {
			return err
		}
		w.res.addSub()
	}
	return nil
}

// hangUp closes a connection in an unknown state.
func (w *worker) hangUp() {
	if w.c != nil {
		_ = w.c.Close()
		w.c = nil
	}
}

func (w *worker) exit(ctx context.Context) {
	if w.c == nil {
		return
	}
	if err := w.c.Exit(ctx); err != nil {
		w.res.fail("EXIT", err)
	}
}

// usersOf makes users with the mail of a source. Files are the same for all users; generated
// mail differs.
func usersOf(name string, n int, folders func(i int) []source.Folder) []user {
	users := make([]user, n)
	for i := range users {
		id := name
		if n > 1 {
			id = fmt.Sprintf("%s%d", name, i+1)
		}
		users[i] = user{id: id, folders: folders(i)}
	}
	return users
}
