package partitions_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// account is a user of the mail server.
type account struct {
	boxes map[string]*source // by uniqueid
	subs  map[string]bool    // name → subscribed; false was once
	quota uint64
	seen  string
	sieve string
	// Of another person before: uniqueids of mailboxes that the source says nothing about.
	forgotten map[string]bool
	person    bool // somebody else had the name before
}

func newAccount() *account {
	return &account{boxes: map[string]*source{}, subs: map[string]bool{}}
}

// moment is what the source was when a commit was its newest.
type moment struct {
	path   string
	number uint64
	boxes  []*source
}

// model is a mail server with some users, and two backup hosts.
type model struct {
	t       *testing.T
	stores  [2]*memstore.Store
	hosts   [2]*host
	clients [2]*client // connections that live on; nil: none
	users   map[string]*account
	past    []moment
	last    string // what the last push sent
	counter int    // names, uniqueids, mail: none occurs twice
}

func (w *model) next() int { w.counter++; return w.counter }

func (w *model) user(t *rapid.T) string {
	return rapid.SampledFrom(slices.Sorted(maps.Keys(w.users))).Draw(t, "user")
}

// box draws a mailbox; nil when there is none.
func (w *model) box(t *rapid.T) (string, *source) {
	u := w.user(t)
	a := w.users[u]
	if len(a.boxes) == 0 {
		t.Skip("no mailbox")
	}
	return u, a.boxes[rapid.SampledFrom(slices.Sorted(maps.Keys(a.boxes))).Draw(t, "mailbox")]
}

// folder draws a mailbox that is no INBOX, which has that name for as long as it exists.
func (w *model) folder(t *rapid.T) (string, *source) {
	u, b := w.box(t)
	if cyrus.IsInbox(b.name) {
		t.Skip("an INBOX")
	}
	return u, b
}

func (w *model) newBox(user string) *source {
	n := w.next()
	b := newSource(fmt.Sprintf("user.%s.Box%d", user, n))
	b.uniqueid = fmt.Sprintf("unique%06d", n)
	return b
}

func (w *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"create": func(t *rapid.T) {
			u := w.user(t)
			b := w.newBox(u)
			b.deliver(mail(w.next(), 300))
			w.users[u].boxes[b.uniqueid] = b
		},
		"deliver": func(t *rapid.T) {
			_, b := w.box(t)
			for range rapid.IntRange(1, 4).Draw(t, "n") {
				b.deliver(mail(w.next(), rapid.SampledFrom([]int{0, 300, 5000}).Draw(t, "size")))
			}
		},
		"deliver what is known": func(t *rapid.T) {
			_, b := w.box(t)
			_, from := w.box(t)
			if len(from.records) > 0 {
				if body, ok := from.bodies[from.records[0].GUID]; ok {
					b.deliver(body)
				}
			}
		},
		"flag": func(t *rapid.T) {
			_, b := w.box(t)
			if live := b.live(); len(live) > 0 {
				b.flag(rapid.SampledFrom(live).Draw(t, "record"), `\Seen`, "$x")
			}
		},
		"expunge": func(t *rapid.T) {
			_, b := w.box(t)
			if live := b.live(); len(live) > 0 {
				b.flag(rapid.SampledFrom(live).Draw(t, "record"), `\Deleted`, `\Expunged`)
			}
		},
		"clean up": func(t *rapid.T) {
			_, b := w.box(t)
			for _, r := range b.records {
				if r.Expunged() {
					b.deletedModSeq = max(b.deletedModSeq, r.ModSeq)
				}
			}
			b.records = b.live()
		},
		"rename": func(t *rapid.T) {
			u, b := w.folder(t)
			b.name = fmt.Sprintf("user.%s.Box%d", u, w.next())
		},
		"swap names": func(t *rapid.T) {
			u, b := w.folder(t)
			for _, o := range w.users[u].boxes {
				if o.uniqueid > b.uniqueid && !cyrus.IsInbox(o.name) {
					b.name, o.name = o.name, b.name
					break
				}
			}
		},
		"delete": func(t *rapid.T) {
			u, b := w.folder(t)
			delete(w.users[u].boxes, b.uniqueid)
		},
		"recreate": func(t *rapid.T) {
			u, b := w.box(t)
			delete(w.users[u].boxes, b.uniqueid)
			n := w.newBox(u)
			n.name = b.name
			n.deliver(mail(w.next(), 300))
			w.users[u].boxes[n.uniqueid] = n
		},
		"restore": w.restore,
		"sub":     func(t *rapid.T) { u, b := w.box(t); w.users[u].subs[b.name] = !w.users[u].subs[b.name] },
		"quota":   func(t *rapid.T) { w.users[w.user(t)].quota = uint64(w.next()) },
		"seen":    func(t *rapid.T) { w.users[w.user(t)].seen = fmt.Sprint("1:", w.next()) },
		"sieve":   func(t *rapid.T) { w.users[w.user(t)].sieve = fmt.Sprintf("keep; # %d", w.next()) },
		"rename the user": func(t *rapid.T) {
			w.renameUser(t, rapid.Bool().Draw(t, "told by RENAME"))
		},
		"another person": func(t *rapid.T) {
			u := w.user(t)
			if w.users[u] = w.users[u].nextPerson(u, w.next); !w.users[u].person {
				w.sync(t, u) // the INBOX that the next person's is compared with
			}
		},
		"sync": func(t *rapid.T) { w.sync(t, w.user(t)) },
		"new connection": func(t *rapid.T) {
			w.hangUp(rapid.IntRange(0, 1).Draw(t, "host"))
		},
		"index is lost": func(t *rapid.T) {
			i := rapid.IntRange(0, 1).Draw(t, "host")
			w.hangUp(i)
			w.hosts[i].removeIndex()
		},
		"store fault": func(t *rapid.T) {
			f, _ := fault(rapid.IntRange(1, 12).Draw(t, "call"), rapid.IntRange(1, 3).Draw(t, "calls"), rapid.SampledFrom([]error{memstore.ErrInjected, errDenied}).Draw(t, "error"))
			s := w.stores[rapid.IntRange(0, 1).Draw(t, "store")]
			if rapid.Bool().Draw(t, "answers lost") {
				s.SetFaults(nil, f)
			} else {
				s.SetFaults(f, nil)
			}
		},
	}
}

// restore brings a mailbox of the source back to a state in which it was synced.
func (w *model) restore(t *rapid.T) {
	u, b := w.box(t)
	var former []*source
	for _, p := range w.past {
		for _, o := range p.boxes {
			if o.uniqueid == b.uniqueid && o.modseq < b.modseq {
				former = append(former, o)
			}
		}
	}
	if len(former) == 0 {
		t.Skip("it never was older")
	}
	old := rapid.SampledFrom(former).Draw(t, "state").clone()
	old.name = b.name
	w.users[u].boxes[b.uniqueid] = old
	// It is synced before it grows to the modseq that it had: a mailbox without live
	// records has the CRC 0, which matches any, and then nobody could tell.
	w.sync(t, u)
}

// nextPerson is an account of the same name after this one was deleted: the source knows
// nothing of the former mailboxes any more (delete_mode: immediate, as of 3.12). Who had
// no INBOX gets one.
func (a *account) nextPerson(user string, next func() int) *account {
	inbox := newSource("user." + user)
	inbox.uniqueid = fmt.Sprintf("unique%06d", next())
	inbox.deliver(mail(next(), 300))
	had := func(b *source) bool { return b.name == inbox.name }
	if !slices.ContainsFunc(slices.Collect(maps.Values(a.boxes)), had) {
		a.boxes[inbox.uniqueid] = inbox
		return a
	}
	b := newAccount()
	b.person, b.forgotten = true, maps.Clone(a.forgotten)
	if b.forgotten == nil {
		b.forgotten = map[string]bool{}
	}
	for id := range a.boxes {
		b.forgotten[id] = true
	}
	b.boxes[inbox.uniqueid] = inbox
	return b
}

// leftOver says what a state has that the former person left.
func (a *account) leftOver(m *history.Mem) error {
	if !a.person {
		return nil
	}
	for kind, has := range map[string]bool{history.ItemSeen: a.seen != "", history.ItemSieve: a.sieve != ""} {
		for i, err := range m.Items(kind) {
			if err != nil {
				return err
			}
			if i.Deleted.IsZero() && !has {
				return fmt.Errorf("it has %v of the person before", i.Key)
			}
		}
	}
	return nil
}

func (w *model) renameUser(t *rapid.T, told bool) {
	u := w.user(t)
	n := fmt.Sprintf("u%d", w.next())
	a := w.users[u]
	b := newAccount()
	b.quota, b.seen, b.sieve = a.quota, a.seen, a.sieve
	w.sync(t, u) // so that the server knows what is renamed
	c := w.connect(t)
	for id, box := range a.boxes {
		old := box.name
		box.name = renamedTo(box.name, u, n)
		b.boxes[id] = box
		if told {
			err := c.s.ApplyRename(w.t.Context(), cyrus.Rename{Old: old, New: box.name, Partition: "default", UIDValidity: box.validity})
			if err != nil && !acceptable(err) {
				t.Fatalf("rename %s to %s: %v", old, box.name, err)
			}
		}
	}
	w.users[n] = b
	w.users[u] = newAccount() // of the old name nothing is left
	w.sync(t, n)
	w.sync(t, u)
}

// renamedTo is the name of a mailbox after its user was renamed.
func renamedTo(name, old, user string) string {
	if rest, ok := strings.CutPrefix(name, "user."+old); ok && (rest == "" || rest[0] == '.') {
		return "user." + user + rest
	}
	return name
}

func (w *model) hangUp(i int) {
	if w.clients[i] != nil {
		w.clients[i].s.Close()
		w.clients[i] = nil
	}
}

// connect is a connection to one of the hosts. The other's gives its backups up, as
// it would by and by.
func (w *model) connect(t *rapid.T) *client {
	i := rapid.IntRange(0, 1).Draw(t, "host")
	if w.clients[i] == nil {
		w.clients[i] = &client{w.t, w.hosts[i].set.NewSession(partitions.Who{Connection: fmt.Sprint("c", w.next())})}
	}
	return w.clients[i]
}

// acceptable are errors over which a client comes again.
func acceptable(err error) bool {
	for _, e := range []error{cyrus.ErrLocked, cyrus.ErrClose, cyrus.ErrSyncChanged, cyrus.ErrNonexistent, objstore.ErrDenied, memstore.ErrInjected} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sync runs sync_client until it has nothing more to send, and compares.
func (w *model) sync(t *rapid.T, user string) {
	c := w.connect(t)
	quiet := false
	var sent []string
	for try := 0; !quiet; try++ {
		if try > 30 {
			t.Fatalf("%s is never up to date:\n%s", user, strings.Join(sent, "\n"))
		}
		if try > 2 {
			w.heal() // faults last for a while only
		}
		n, err := w.push(c, user)
		if err != nil && !acceptable(err) {
			t.Fatalf("sync of %s: %v", user, err)
		}
		sent = append(sent, fmt.Sprintf("%d commands, %v", n, err), w.last)
		sent = sent[max(len(sent)-4, 0):]
		quiet = err == nil && n == 0
		c.s.Restart(w.t.Context())
	}
	w.heal()
	w.compare(t, user)
}

func (w *model) heal() {
	for _, s := range w.stores {
		s.SetFaults(nil, nil)
	}
}

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
	told    func(*source) // hears of each mailbox that was answered OK; may be nil

	applies int
	last    string // what was sent last
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
		if b := p.account.boxes[id]; b == nil && p.account.forgotten[id] {
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
	sent := map[cyrus.GUID]bool{}
	for _, b := range boxes {
		n, err := p.c.updateOrFull(ctx, b, there, missing, sent)
		p.applies += n
		if n > 0 {
			p.last = fmt.Sprintf("%s: %v is not as %v", b.name, there[b.uniqueid], b.head().Fields)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if p.told != nil {
			p.told(b)
		}
	}
	return nil
}

// updateOrFull is update, but for a mailbox of which the source has cleaned up more
// than the server has heard of (client-behaviour.md f10).
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

// itemLines are the lines that GET USER shall give besides mailboxes.
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

// where is the store that holds a backup; nil when none does.
func (w *model) where(path string) (found objstore.Store) {
	for _, s := range w.stores {
		if hasBackup(w.t, s, path) {
			if found != nil {
				w.t.Fatalf("%s is in both partitions", path)
			}
			found = s
		}
	}
	return found
}

// compare holds the bucket and both indexes against the source.
func (w *model) compare(t *rapid.T, user string) {
	path, a := "user/"+user, w.users[user]
	boxes := slices.Collect(maps.Values(a.boxes))
	store := w.where(path)
	if store == nil {
		if len(boxes) > 0 {
			t.Fatalf("%s has mailboxes but no backup", user)
		}
		return
	}
	n := checkLog(w.t, store, path)
	if n == 0 {
		return
	}
	m := load(w.t, store, path)
	defer m.Close()
	if err := errors.Join(sameBoxes(m, boxes), a.leftOver(m)); err != nil {
		t.Fatalf("%s after commit %d: %v", user, n, err)
	}
	checkBodies(w.t, store, path)
	clones := make([]*source, 0, len(boxes))
	for _, b := range boxes {
		clones = append(clones, b.clone())
	}
	w.past = append(w.past, moment{path, n, clones})
	for i, h := range w.hosts {
		w.hangUp(i)
		// A backup can be held by work of its own for longer than a command waits here.
		err := h.indexDiffers(user, boxes...)
		for end := time.Now().Add(10 * time.Second); errors.Is(err, cyrus.ErrLocked) && time.Now().Before(end); {
			err = h.indexDiffers(user, boxes...)
		}
		if err != nil {
			t.Fatalf("host %d: %v", i, err)
		}
		c := h.client()
		sent, err := w.push(c, user)
		c.s.Close()
		if sent != 0 || err != nil {
			t.Fatalf("host %d: another sync of %s, after commit %d, sent %d commands, %v", i, user, n, sent, err)
		}
	}
}

// sameBoxes says how the live mailboxes of a state differ from those of the source.
func sameBoxes(m *history.Mem, boxes []*source) error {
	live := 0
	for mb, err := range m.Mailboxes() {
		if err != nil {
			return err
		}
		if mb.Deleted.IsZero() {
			live++
		}
	}
	if live != len(boxes) {
		return fmt.Errorf("%d mailboxes, want %d", live, len(boxes))
	}
	for _, b := range boxes {
		if err := b.differs(m); err != nil {
			return err
		}
	}
	return nil
}

// checkPast: at every commit after which bucket and source were compared, the history
// says what the source was then.
func (w *model) checkPast(t *rapid.T) {
	for _, p := range w.past {
		m, err := history.Load(w.t.Context(), w.where(p.path), p.path, history.Moment{Number: p.number})
		if err != nil {
			t.Fatal(err)
		}
		if err := sameBoxes(m, p.boxes); err != nil {
			t.Fatalf("%s at commit %d: %v", p.path, p.number, err)
		}
		m.Close()
	}
}

// Whatever the mail server does, and whatever happens to index, store and connection:
// after a sync the bucket equals the source, a second sync sends nothing, and the
// history tells every former state.
func TestModel(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		if err := flag.Set("rapid.checks", "8"); err != nil {
			t.Fatal(err)
		}
	}
	stores := [2]*memstore.Store{newStore(), newStore()}
	set := func(o *partitions.Options) {
		o.InlineLimit, o.PackSize, o.CheckpointObject = 8<<10, 64<<10, 6
		o.OutageWait, o.PatientWait = 40*time.Millisecond, 40*time.Millisecond
	}
	hosts := [2]*host{newHostWith(t, set, stores[0], stores[1]), newHostWith(t, set, stores[0], stores[1])}
	for i := range 2 {
		hosts[i].sync("x", newSource("user.x"))
		hosts[i].sync("yy", newSource("user.yy"))
	}
	counter := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := &model{t: t, stores: stores, hosts: hosts, users: map[string]*account{}, counter: counter}
		defer func() {
			counter = w.counter
			w.heal()
			w.hangUp(0)
			w.hangUp(1)
		}()
		for range 2 {
			u := fmt.Sprintf("u%d", w.next())
			w.users[u] = newAccount()
			for range 2 {
				b := w.newBox(u)
				for range 3 {
					b.deliver(mail(w.next(), 300))
				}
				w.users[u].boxes[b.uniqueid] = b
			}
		}
		actions := w.actions()
		for name, do := range actions {
			if name == "sync" || name == "store fault" || name == "rename the user" {
				continue
			}
			actions[name] = func(t *rapid.T) { // mostly one change is told at a time, sometimes several are
				do(t)
				if rapid.IntRange(0, 2).Draw(t, "sync") > 0 {
					w.sync(t, w.user(t))
				}
			}
		}
		rt.Repeat(actions)
		for _, u := range slices.Sorted(maps.Keys(w.users)) {
			w.sync(rt, u)
		}
		w.checkPast(rt)
	})
}
