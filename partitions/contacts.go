package partitions

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// contactPause is how long contacts are gathered in memory before the index has them.
	contactPause = time.Minute
	// contactsMost is how many of them are in memory at most; see also namesInMemory. Others are forgotten until
	// the mail server is in contact again.
	contactsMost = 10000
	// contactAge is the time between two puts of what this host knows about a mail server.
	contactAge = time.Hour
	// contactTime limits the puts of all contacts at the end of the process.
	contactTime = 5 * time.Second
	// refusedBusy is the kind of a refusal that ends by itself.
	refusedBusy = "busy"
	// RefusedOutside is the kind of a refusal because of the scope of the login.
	RefusedOutside = "outside"
	// outsideHides is how long a refusal of another kind is shown although a refusal because of a scope is newer.
	outsideHides = time.Hour
	// contactText limits the text of a refusal.
	contactText = 500
)

// contacts are what mail servers have done since the index was last written (design.md 5, Contact).
type contacts struct {
	begun time.Time // of the process

	mu       sync.Mutex
	servers  map[string]serverContact       // by client
	backups  map[string]backupContact       // by path
	names    map[string]map[string]struct{} // the paths of backups that do not exist, by client
	nameless int                            // their number
	full     chan struct{}                  // has an element if they are to be written soon
	// refusals counts refused commands by kind since the process began.
	refusals map[string]int64

	writing sync.Mutex
	// putting has an element while contacts are put into the buckets.
	putting chan struct{}
}

// serverContact is the value of index.ServerKey.
type serverContact struct {
	Last    time.Time           `json:"last"`
	Refused *repository.Refusal `json:"refused,omitempty"`
	// Refusals counts the refused commands since the last success of the server.
	Refusals int64 `json:"refusals,omitempty"`
	reached  bool  // in memory: Refusals begins with a success, and not with what the index has
	// Unlisted is when a refused name of the server last got no place: see contacts_names.go.
	Unlisted time.Time `json:"unlisted,omitzero"`
	// Put is when this host last put it into each partition.
	Put map[string]time.Time `json:"put,omitempty"`
}

// backupContact is the value of index.ContactKey.
type backupContact struct {
	Client string    `json:"client"`
	At     time.Time `json:"at"` // zero: there was none, only a refusal
	// refused is the value of index.RefusalKey, if a command was refused after At.
	refused *repository.Refusal
	// nameless is set if no partition has a backup of that name; see contacts_names.go. asker has asked for it.
	nameless bool
	asker    string
}

func newContacts(now time.Time) *contacts {
	return &contacts{begun: now, servers: map[string]serverContact{}, backups: map[string]backupContact{}, names: map[string]map[string]struct{}{}, full: make(chan struct{}, 1), refusals: map[string]int64{}, putting: make(chan struct{}, 1)}
}

// Contact records that a mail server has sent a command.
func (s *Set) Contact(client string) {
	s.contacts.mu.Lock()
	defer s.contacts.mu.Unlock()
	s.contacts.server(client, s.opt.Now(), nil)
}

// Reached records that a mail server has finished a unit of work on a backup.
func (s *Set) Reached(client string, b *Backup) {
	now := s.opt.Now()
	// The handle knows: the backup was opened. A success ends a refusal, with or without a backup.
	lasts := b.Lasts()
	ends := lasts || s.mayHaveRefusal(b.path)
	s.contacts.mu.Lock()
	defer s.contacts.mu.Unlock()
	s.contacts.server(client, now, nil)
	s.contacts.succeeded(client)
	if _, there := s.contacts.backups[b.path]; ends || there {
		s.contacts.backup(b.path, backupContact{Client: client, At: now, nameless: !lasts, asker: client})
	}
}

// Refused records that a command could not be executed. b is nil if it is about no backup.
func (s *Set) Refused(client string, b *Backup, err error) {
	now := s.opt.Now()
	r := &repository.Refusal{Client: client, Since: now, At: now, Error: shortened(err.Error())}
	if b != nil {
		r.Backup = b.path
	}
	nameless := b != nil && s.nameless(b)
	k := trouble(err, b)
	switch {
	case errors.Is(err, cyrus.ErrOutside):
		r.Kind, r.Action = RefusedOutside, "correct the file of backup_scopes, or take the user out of the client's list"
	case k.kind != "":
		r.Kind, r.Action = string(k.kind), k.kind.advice(k.scope)
	case errors.Is(err, cyrus.ErrLocked):
		r.Kind = refusedBusy
	default:
		r.Kind = string(troubleInternal)
	}
	s.contacts.mu.Lock()
	defer s.contacts.mu.Unlock()
	s.contacts.refusals[r.Kind]++
	s.contacts.server(client, now, r)
	if b != nil {
		s.contacts.backup(b.path, backupContact{refused: r, nameless: nameless, asker: client})
	}
}

func shortened(text string) string {
	if len(text) > contactText {
		return text[:contactText] + "…"
	}
	return text
}

// server notes a contact. The caller holds mu, as of backup.
func (c *contacts) server(client string, now time.Time, r *repository.Refusal) {
	was, there := c.servers[client]
	if !there && len(c.servers) >= contactsMost {
		return
	}
	was.Last = now
	if r != nil {
		was.Refused = lastRefusal(was.Refused, r)
		was.Refusals++
	}
	c.servers[client] = was
}

// lastRefusal returns the refusal to show: the newer one. But a refusal because of a scope, which can come
// at each interval, hides no other kind for outsideHides; except busy, which ends by itself and is as frequent.
func lastRefusal(was, is *repository.Refusal) *repository.Refusal {
	if was != nil && is.Kind == RefusedOutside && was.Kind != RefusedOutside && was.Kind != refusedBusy && apart(was.At, is.At) < outsideHides {
		return was
	}
	return is
}

// succeeded forgets the refusals of a server. The caller holds mu.
func (c *contacts) succeeded(client string) {
	if was, there := c.servers[client]; there {
		was.Refusals, was.reached = 0, true
		c.servers[client] = was
	}
}

func (c *contacts) backup(path string, b backupContact) {
	was, there := c.backups[path]
	if !there && !c.room(&b) {
		return
	}
	b.nameless = b.nameless && (!there || was.nameless)
	if b.refused != nil {
		b.Client, b.At = was.Client, was.At
		if was.refused != nil {
			b.refused.Since = was.refused.Since
		}
	}
	c.set(path, b)
	if len(c.backups) < contactsMost/2 && len(c.names[b.asker]) < namesMost/2 && c.nameless < namesInMemory/2 {
		return
	}
	select {
	case c.full <- struct{}{}:
	default:
	}
}

// take returns the contacts to write, and begins again.
func (c *contacts) take() (map[string]serverContact, map[string]backupContact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	servers, backups := c.servers, c.backups
	c.servers, c.backups = map[string]serverContact{}, map[string]backupContact{}
	c.names, c.nameless = map[string]map[string]struct{}{}, 0
	return servers, backups
}

// giveBack keeps what could not be written, unless newer contacts have replaced it.
func (c *contacts) giveBack(servers map[string]serverContact, backups map[string]backupContact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for client, v := range servers {
		newer, there := c.servers[client]
		if !there {
			c.servers[client] = v
			continue
		}
		if !newer.reached {
			newer.Refusals, newer.reached = newer.Refusals+v.Refusals, v.reached
		}
		if newer.Unlisted.IsZero() {
			newer.Unlisted = v.Unlisted
		}
		c.servers[client] = newer
	}
	for path, v := range backups {
		if _, newer := c.backups[path]; !newer && (!v.nameless || c.room(&v)) {
			c.set(path, v)
		}
	}
}

// writeContacts writes contacts until the end of the Set.
func (s *Set) writeContacts() {
	tick := time.NewTicker(s.opt.ContactPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.contacts.full:
		case <-s.life.Done():
			return
		}
		s.noteContacts(s.life, false)
		s.forgetSent()
	}
}

// noteContacts writes contacts to the index and, if they are due, to the buckets. An error only means
// that the next attempt writes them.
func (s *Set) noteContacts(ctx context.Context, ending bool) {
	err := s.FlushContacts()
	if err == nil {
		err = s.putContacts(ctx, ending)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Debug("the contacts of the mail servers could not be recorded", "err", err)
	}
}

// endContacts writes contacts at the end of the Set.
func (s *Set) endContacts() {
	ctx, cancel := context.WithTimeout(context.Background(), contactTime)
	defer cancel()
	s.noteContacts(ctx, true)
}
