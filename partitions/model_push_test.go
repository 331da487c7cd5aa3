package partitions_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// push is sync_client -u.
func (w *model) push(c *client, user string) (applies int, err error) {
	p := &push{c: c, user: user, account: w.users[user]}
	err = p.run(w.t.Context())
	if p.last != "" {
		w.last = p.last
	}
	return p.applies, err
}

// push is a run of sync_client -u.
type push struct {
	c       *client
	user    string
	account *account
	acked   func(*source) // called for each mailbox that was answered OK; may be nil
	all     bool          // remove mailboxes that the source has forgotten, too

	applies int
	last    string // the last command
}

func (p *push) run(ctx context.Context) error {
	there, _, err := p.c.getUser(p.user)
	if err != nil {
		return err
	}
	if err := p.names(ctx, there); err != nil {
		return err
	}
	there, lines, err := p.c.getUser(p.user)
	if err != nil {
		return err
	}
	if err := p.mailboxes(ctx, there); err != nil {
		return err
	}
	n, err := p.account.pushItems(ctx, p.c, p.user, lines)
	if n > 0 {
		p.last = fmt.Sprintf("items: %q", p.account.itemLines(p.user))
	}
	p.applies += n
	return err
}

// names removes and renames mailboxes.
func (p *push) names(ctx context.Context, there state) error {
	for _, id := range slices.Sorted(maps.Keys(there)) {
		name, _, err := there[id].Text("MBOXNAME")
		if err != nil {
			return err
		}
		if b := p.account.boxes[id]; b == nil && p.account.forgotten[id] && !p.all {
			continue
		} else if b == nil {
			p.applies++
			err = p.c.s.ApplyUnmailbox(ctx, name)
		} else if b.name != name {
			p.applies++
			err = p.c.s.ApplyRename(ctx, cyrus.Rename{Old: name, New: b.name, Partition: "default", UIDValidity: b.validity})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *push) mailboxes(ctx context.Context, there state) error {
	boxes := slices.SortedFunc(maps.Values(p.account.boxes), func(x, y *source) int { return strings.Compare(x.name, y.name) })
	if len(boxes) == 0 {
		return nil
	}
	missing, err := p.c.reserve(ctx, there, boxes)
	if err != nil {
		return err
	}
	sent, renewed := map[cyrus.GUID]bool{}, false
	for _, b := range boxes {
		n, err := p.c.updateOrFull(ctx, b, there, missing, sent)
		p.applies += n
		if n > 0 {
			p.last = fmt.Sprintf("%s: the server has %v, the source %v", b.name, there[b.uniqueid], b.head().Fields)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if p.acked != nil && (n > 0 || !renewed) {
			p.acked(b)
		}
		if _, known := there[b.uniqueid]; cyrus.IsInbox(b.name) && !known {
			renewed = true // it may have ended everything that the server has listed before
		}
	}
	return nil
}

// updateOrFull is update, unless the source has cleaned up records whose expunge the server
// has not seen. Then it fetches the full mailbox first (client-behaviour.md f10).
func (c *client) updateOrFull(ctx context.Context, m *source, there state, missing, sent map[cyrus.GUID]bool) (int, error) {
	v, known := there[m.uniqueid]
	if !known || m.deletedModSeq <= number(v, "HIGHESTMODSEQ") || number(v, "HIGHESTMODSEQ") == m.modseq {
		return c.update(ctx, m, there, missing, sent)
	}
	full, err := c.full(ctx, m.name)
	if err != nil {
		return 1, err
	}
	for _, r := range m.records {
		delete(full, r.UID)
	}
	if err := c.s.ApplyExpunge(ctx, m.name, m.uniqueid, slices.Sorted(maps.Keys(full))); err != nil {
		return 1, err
	}
	if _, _, err := c.getUser(strings.Split(m.name, ".")[1]); err != nil {
		return 1, err
	}
	var send []*cyrus.Record
	for _, r := range m.records {
		if r.ModSeq <= number(v, "HIGHESTMODSEQ") {
			continue
		}
		send = append(send, r)
		if uint64(r.UID) > number(v, "LAST_UID") && !sent[r.GUID] && missing[r.GUID] {
			if err := c.upload(ctx, m, r); err != nil {
				return 1, err
			}
			sent[r.GUID] = true
		}
	}
	return 2, c.s.ApplyMailbox(ctx, m.head(), cyrus.Since{}, seq(send))
}

// itemLines returns the lines that GET USER must return besides mailboxes.
func (a *account) itemLines(user string) (lines []string) {
	if a.quota > 0 {
		lines = append(lines, fmt.Sprintf("QUOTA %%(ROOT user.%s LIMIT %d)", user, a.quota))
	}
	if a.seen != "" {
		lines = append(lines, fmt.Sprintf("SEEN %%(UNIQUEID abc LASTREAD 1 SEENUIDS %s)", a.seen))
	}
	var subs []string
	for name, on := range a.subs {
		if on {
			subs = append(subs, name)
		}
	}
	if sort.Strings(subs); len(subs) > 0 {
		lines = append(lines, "LSUB ("+strings.Join(subs, " ")+")")
	}
	return lines
}

func (a *account) pushItems(ctx context.Context, c *client, user string, there []string) (applies int, err error) {
	same := true
	for _, l := range a.itemLines(user) {
		same = same && slices.Contains(there, l)
	}
	sieve := cyrus.Sieve{UserID: user, Filename: "main.script", LastUpdate: int64(len(a.sieve)), Content: a.sieve}
	if a.sieve != "" {
		guid := cyrus.GUID(sha1Of(a.sieve))
		same = same && slices.ContainsFunc(there, func(l string) bool {
			return strings.HasPrefix(l, "SIEVE ") && strings.Contains(l, guid.String())
		})
	}
	if same {
		return 0, nil
	}
	for _, l := range there {
		if names, ok := strings.CutPrefix(l, "LSUB ("); ok {
			for name := range strings.FieldsSeq(strings.TrimSuffix(names, ")")) {
				err = errors.Join(err, c.s.ApplySub(ctx, user, name, a.subs[name]))
			}
		}
	}
	for name, on := range a.subs {
		err = errors.Join(err, c.s.ApplySub(ctx, user, name, on))
	}
	if a.quota > 0 {
		err = errors.Join(err, c.s.ApplyQuota(ctx, quotaOf("user."+user, a.quota)))
	}
	if a.seen != "" {
		err = errors.Join(err, c.s.ApplySeen(ctx, seenOf(user, "abc", a.seen)))
	}
	if a.sieve != "" {
		err = errors.Join(err, c.s.ApplySieve(ctx, sieve), c.s.ApplyActivateSieve(ctx, user, "main.bc"))
	}
	return 1, err
}
