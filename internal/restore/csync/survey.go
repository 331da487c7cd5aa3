package csync

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/replication/client"
)

// namesPerGet limits the names in one GET.
const namesPerGet = 256

// survey is the relevant state of the destination.
type survey struct {
	mu     sync.Mutex
	byName map[string]*cyrus.Mailbox
	byID   map[string]*cyrus.Mailbox
	users  map[string]*client.User
}

// look asks the server about the relevant mailboxes and users.
func look(ctx context.Context, c *client.Client, folders []*restore.Folder, account *restore.Account) (*survey, error) {
	s := &survey{byName: map[string]*cyrus.Mailbox{}, byID: map[string]*cyrus.Mailbox{}, users: map[string]*client.User{}}
	var names, ids []string
	for _, f := range folders {
		names = append(names, f.Name)
		ids = append(ids, f.From.UniqueID)
	}
	if account != nil {
		for _, e := range account.Seen {
			ids = append(ids, e.UniqueID)
		}
	}
	for some := range slices.Chunk(names, namesPerGet) {
		boxes, err := c.GetMailboxes(ctx, some)
		if err != nil {
			return nil, err
		}
		for _, m := range boxes {
			s.know(m)
		}
	}
	for some := range slices.Chunk(ids, namesPerGet) {
		boxes, err := byUniqueID(ctx, c, some)
		if err != nil {
			return nil, err
		}
		for _, m := range boxes {
			s.know(m)
		}
	}
	return s, nil
}

func byUniqueID(ctx context.Context, c *client.Client, ids []string) ([]*cyrus.Mailbox, error) {
	items := make([]dlist.Value, len(ids))
	for i, id := range ids {
		items[i] = dlist.S(id)
	}
	lines, err := c.Get(ctx, "UNIQUEIDS", dlist.L(items...))
	if err != nil {
		return nil, err
	}
	var out []*cyrus.Mailbox
	for _, l := range lines {
		m, err := cyrus.ParseReply(l.Value.Pairs)
		if err != nil {
			return nil, fmt.Errorf("GET UNIQUEIDS: %w", err)
		}
		out = append(out, m)
	}
	return out, nil
}

func (s *survey) know(m *cyrus.Mailbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[m.Name] = m
	s.byID[m.UniqueID] = m
}

// named returns the mailbox of this name, nil if the server has none with messages.
func (s *survey) named(name string) *cyrus.Mailbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.byName[name]
	if m == nil || m.Intermediate() || m.Deleted() {
		return nil
	}
	return m
}

// holder returns the mailbox with a uniqueid.
func (s *survey) holder(uniqueid string) *cyrus.Mailbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[uniqueid]
}

// renamed records that a mailbox has a new name.
func (s *survey) renamed(m *cyrus.Mailbox, name string) *cyrus.Mailbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, m.Name)
	c := *m
	c.Name = name
	s.byName[name], s.byID[c.UniqueID] = &c, &c
	return &c
}

// names returns the mailboxes that may have some of the messages.
func (s *survey) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for name, m := range s.byName {
		if !m.Intermediate() && !m.Deleted() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// user returns the server's data of a user, which is fetched once.
func (s *survey) user(ctx context.Context, c *client.Client, userid string) (*client.User, error) {
	s.mu.Lock()
	u := s.users[userid]
	s.mu.Unlock()
	if u != nil {
		return u, nil
	}
	u, err := c.GetUser(ctx, userid)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[userid] = u
	return u, nil
}
