package backupd

import (
	"crypto/sha256"
	"log/slog"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/scopes"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
	"github.com/cyrusbackup/backupd/replication"
)

// scopeOf returns what a client may touch. A session asks for the newest table each time, so that
// SIGHUP applies to it, too.
func scopeOf(newest func() *scopes.Table, login, addr string, log *refusals) *session.Scope {
	of := func() *scopes.Scope {
		if t := newest(); t != nil {
			return t.Of(login)
		}
		return nil
	}
	return &session.Scope{
		All: func() bool {
			s := of()
			return s == nil || s.All()
		},
		May: func(n repository.Name) bool {
			s := of()
			return s == nil || contains(s, n)
		},
		Refused:    func(n repository.Name) { log.note(login, n.Path(), addr) },
		Useless:    func(n repository.Name, mailbox string) { log.useless(login, n.Path(), mailbox) },
		WasUseless: func(n repository.Name, mailbox string) bool { return log.wasUseless(login, n.Path(), mailbox) },
	}
}

func contains(s *scopes.Scope, n repository.Name) bool {
	switch n.Kind {
	case repository.KindUser:
		return s.User(n.Full)
	case repository.KindShared:
		return s.Shared(n.Full)
	}
	return s.Server()
}

// loginOf returns the name of a client in the table.
func loginOf(peer replication.Peer) string {
	if peer.Unix {
		return scopes.Unix
	}
	return peer.User
}

// refusals logs each login and backup once an hour, however many commands and connections there are.
type refusals struct {
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	since time.Time
	seen  map[string]map[string]*refusal // login, path
	more  int                            // that were not logged, because there were too many
}

// refusal describes a backup that was refused to a login.
type refusal struct {
	useless map[[sha256.Size]byte]bool // hashes of the names of mailboxes that were sent, with their messages
}

const (
	refusalsFor  = time.Hour
	refusalsMost = 1000 // of a login
	uselessMost  = 16   // of a backup: more are sent again
)

func (r *refusals) note(login, path, addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	of := r.seen[login]
	switch {
	case of[path] != nil:
		return
	case len(of) >= refusalsMost:
		r.more++
		return
	case of == nil:
		of = map[string]*refusal{}
		r.seen[login] = of
	}
	of[path] = &refusal{}
	r.log.Error("a backup is outside the scope of this login: nothing of it is backed up by this client",
		"backup", path, "login", login, "client", addr,
		"action", "correct the file of backup_scopes and run sync_client -u, or take this user out of the client's list")
}

// begin forgets everything after refusalsFor. The caller holds mu.
func (r *refusals) begin() {
	if now := r.now(); now.Sub(r.since) > refusalsFor {
		if r.more > 0 {
			r.log.Error("commands on more backups outside the scope of their login were refused", "commands", r.more)
		}
		r.since, r.seen, r.more = now, map[string]map[string]*refusal{}, 0
	}
}

// useless records that a login has sent a mailbox of a backup. note was called before.
func (r *refusals) useless(login, path, mailbox string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.seen[login][path]
	if of == nil || len(of.useless) >= uselessMost {
		return
	}
	if of.useless == nil {
		of.useless = map[[sha256.Size]byte]bool{}
	}
	of.useless[sha256.Sum256([]byte(mailbox))] = true
}

// wasUseless reports whether the login has sent the mailbox since at most refusalsFor.
func (r *refusals) wasUseless(login, path, mailbox string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	of := r.seen[login][path]
	return of != nil && of.useless[sha256.Sum256([]byte(mailbox))]
}
