package drill

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/replication/client"
)

// ScratchUser is the user who gets the mail of a drill into a server. The name is always the same, so
// that every drill finds what an interrupted one has left.
const ScratchUser = "backup-drill"

// scratchInbox is the internal name of the user's INBOX.
const scratchInbox = "user." + ScratchUser

// elsewhere is how long a drill of another host may take. After that it counts as interrupted.
const elsewhere = 24 * time.Hour

// ErrForeign means that a drill refuses a server, because the mail of its scratch user may be somebody's.
var ErrForeign = errors.New("nothing was changed there")

// marks makes the uniqueids of the mailboxes of a drill. They show that a drill has made a mailbox,
// on which host, and when. The server creates a mailbox and its uniqueid in one step, so no
// interruption leaves a mailbox without the mark.
type marks struct {
	host string // 6 hexadecimal digits for the host
	last uint16
}

// markPrefix begins the uniqueids: "drill!" in ASCII, then the version of a UUID in a private form
// (RFC 9562, version 8).
const markPrefix = "6472696c-6c21-8"

func newMarks(host string) *marks {
	sum := sha256.Sum256([]byte(host))
	return &marks{host: hex.EncodeToString(sum[:3]), last: uint16(rand.Uint32())}
}

// next returns a uniqueid that no other mailbox of any drill has: the host, the second, and a number.
func (m *marks) next(now time.Time) string {
	m.last++
	var b [6]byte
	binary.BigEndian.PutUint32(b[:], uint32(now.Unix()))
	binary.BigEndian.PutUint16(b[4:], m.last)
	return markPrefix + m.host[:3] + "-8" + m.host[3:] + "-" + hex.EncodeToString(b[:])
}

// ours reports whether a drill has made the mailbox, on which host, and when.
func ours(uniqueid string) (host string, at time.Time, ok bool) {
	rest, ok := strings.CutPrefix(uniqueid, markPrefix)
	if !ok || len(uniqueid) != 36 {
		return "", at, false
	}
	sec, err := strconv.ParseUint(rest[9:17], 16, 32)
	return rest[:3] + rest[5:8], time.Unix(int64(sec), 0), err == nil
}

// clear removes the scratch user, if a drill has made it. It refuses any other user of this name, and
// what a drill of another host may still use.
func (s *Server) clear(ctx context.Context, c *client.Client, now time.Time, put highest) error {
	u, err := look(ctx, c)
	if err != nil || nothing(u) {
		return err
	}
	if err := s.mayRemove(u, now); err != nil {
		return err
	}
	if err := s.others(u, put); err != nil {
		return err
	}
	c.LimitIdle(idleRemoval)
	if err := c.ApplyUnuser(ctx, ScratchUser); err != nil {
		return fmt.Errorf("remove the user %s from %s: %w", ScratchUser, s.Name, err)
	}
	c.LimitIdle(idleTime)
	if u, err = look(ctx, c); err == nil && !nothing(u) {
		err = fmt.Errorf("%s has not removed all of the user %s: see its log", s.Name, ScratchUser)
	}
	return err
}

// look returns all that UNUSER would remove of the scratch user, so no mailboxes below DELETED
// (imap/sync_support.c, sync_apply_unuser). GET USER is empty without a mailbox, even if there are
// subscriptions, scripts, or a quota.
func look(ctx context.Context, c *client.Client) (*client.User, error) {
	u, err := c.GetUser(ctx, ScratchUser)
	if err != nil {
		return nil, err
	}
	meta, err := c.GetMeta(ctx, ScratchUser)
	if err != nil {
		return nil, err
	}
	quotas, err := c.GetQuotas(ctx, scratchInbox)
	if err != nil {
		return nil, err
	}
	meta.Quotas = slices.Concat(u.Quotas, quotas)
	for _, m := range u.Mailboxes {
		if m.Name == scratchInbox || strings.HasPrefix(m.Name, scratchInbox+".") {
			meta.Mailboxes = append(meta.Mailboxes, m)
		}
	}
	return meta, nil
}

// highest is the highest uid that a drill has given in each of its mailboxes, by uniqueid.
type highest map[string]uint32

// add notes a mailbox.
func (h highest) add(f *restore.Folder) {
	last := number(f.From.Fields, "LAST_UID")
	if n := len(f.Messages); n > 0 {
		last = max(last, uint64(f.Messages[n-1].UID))
	}
	h[f.From.UniqueID] = uint32(min(last, math.MaxUint32))
}

// mayHave allows some more messages in each mailbox: the server gives a new uid to a message that it
// refuses with the old one.
func (h highest) mayHave(more uint32) {
	for id := range h {
		h[id] += more
	}
}

// others returns an error if a mailbox of the scratch user has mail that no drill has put there. Which uids
// a killed drill has given is not known.
func (s *Server) others(u *client.User, put highest) error {
	for _, m := range u.Mailboxes {
		_, _, marked := ours(m.UniqueID)
		last, known := put[m.UniqueID]
		why, what := "", "Look at that mail, and remove the user there"
		switch {
		case !holds(m):
			continue
		case !marked && m.LastUID > 0 && m.Name != scratchInbox+".#sieve":
			why = "no drill has made the mailbox %s, which is not empty"
		case marked && put != nil && !known:
			why, what = "another drill has made the mailbox %s meanwhile", "Do not run two drills at the same time"
		case known && m.LastUID > last, marked && number(m.Fields, "LAST_APPENDDATE") > 0:
			why = "somebody else has put mail into %s"
		default:
			continue
		}
		return fmt.Errorf("%s has a user %s, and "+why+": %w. %s", s.Name, ScratchUser, m.Name, ErrForeign, what)
	}
	return nil
}

// holds reports whether a mailbox can hold messages: it is neither a part of a name nor deleted.
func holds(m *cyrus.Mailbox) bool { return !m.Intermediate() && !m.Deleted() }

func nothing(u *client.User) bool {
	return !slices.ContainsFunc(u.Mailboxes, holds) && len(u.Subs)+len(u.Sieve)+len(u.Seen)+len(u.Quotas) == 0
}

// mayRemove returns an error if a drill must not remove the user: each mailbox must have the mark of a
// drill. Cyrus adds mailboxes below an INBOX by itself, such as user.x.#sieve; they have no mark.
func (s *Server) mayRemove(u *client.User, now time.Time) error {
	var inbox, marked bool
	var busy time.Time // since when a drill of another host uses the server
	for _, m := range u.Mailboxes {
		host, made, ok := ours(m.UniqueID)
		if ok && host != s.marks.host && now.Sub(made) < elsewhere {
			busy = made
		}
		marked = marked || ok
		inbox = inbox || ok && m.Name == scratchInbox
	}
	for _, m := range u.Mailboxes {
		_, _, ok := ours(m.UniqueID)
		if !ok && holds(m) && !(inbox && strings.HasPrefix(m.Name, scratchInbox+".#")) {
			return fmt.Errorf("%s has a user %s, and no drill has made the mailbox %s: %w. Remove or rename that user, or use another server",
				s.Name, ScratchUser, m.Name, ErrForeign)
		}
	}
	switch {
	case !marked:
		return fmt.Errorf("%s has subscriptions, seen state, scripts or a quota of a user %s without a mailbox, and nothing shows that a drill has made them: %w. Remove them there",
			s.Name, ScratchUser, ErrForeign)
	case !busy.IsZero():
		return fmt.Errorf("a drill of another host uses %s since %s: %w. If it was interrupted, try again after %s", s.Name, timespec.Text(busy), ErrForeign,
			timespec.Text(busy.Add(elsewhere)))
	}
	return nil
}

// Lock makes sure that no other drill of this host uses the server under this name. The lock ends with
// the process.
func (s *Server) Lock() (release func() error, err error) {
	// A name in the abstract namespace needs no file, whoever runs the drill.
	sum := sha256.Sum256([]byte(strings.ToLower(s.Name)))
	l, err := net.Listen("unix", "@cyrus-backupd-drill-"+hex.EncodeToString(sum[:8]))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another drill of this host uses %s: wait until it ends", s.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s against other drills: %w", s.Name, err)
	}
	return l.Close, nil
}
