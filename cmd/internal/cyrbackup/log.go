package cyrbackup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// showLog prints the changes of each commit, one line per commit, the oldest first. It
// replays the log while it reads, so that records can be compared with their former state.
func showLog(c *command) error {
	l, err := c.startLog()
	if err != nil {
		return err
	}
	defer l.state.Close()
	defer func() { c.warn(l.times.Doubts()) }()
	log := c.found.Log()
	newest, err := log.Newest(c.ctx, l.state.Tip().Number)
	if err != nil {
		return err
	}
	past := false // the commits are after --until
	for r, err := range log.Readable(c.ctx, l.state.Tip(), newest) {
		if g, ok := history.IsGap(err); ok {
			if past {
				continue
			}
			if err := l.gap(g); err != nil {
				return enough(err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if past = past || !c.until.IsZero() && l.times.Peek(r.Header()).After(c.until); past {
			if err := l.readBridges(r); err != nil {
				return err
			}
			if len(l.unbridged()) == 0 {
				break
			}
			continue // a later commit may record the loss
		}
		err := l.commit(r)
		if history.IsUnreadable(err) {
			continue // Readable names it next
		}
		if err != nil {
			return enough(err)
		}
	}
	if err := l.unknown(); err != nil {
		return err
	}
	if !past || len(l.unbridged()) > 0 {
		outline, err := log.Outline(c.ctx)
		if err != nil {
			return err
		}
		l.copied(outline.Unfinished())
	}
	return l.reportLost()
}

// unknown reports that the requested mailbox does not exist, which differs from a mailbox
// without changes.
func (l *logWalk) unknown() error {
	if l.only == nil || l.shown > 0 {
		return nil
	}
	for m, err := range l.state.Mailboxes() {
		if err != nil || slices.Contains(l.only, m.Name) || slices.Contains(l.only, m.UniqueID) {
			return err
		}
	}
	return fmt.Errorf("%s: no such mailbox in the backup of %s at that time", l.c.names[0], l.c.found.Name())
}

// logWalk walks along the log.
type logWalk struct {
	c        *command
	state    *history.Mem // before the current commit
	times    history.Times
	replayer history.Replayer
	only     []string // names and uniqueids of the requested mailbox; nil = all
	shown    int
	lost     []history.Gap       // commits that cannot be read
	bridged  []history.LostRange // losses that commits record
	// unfinished is the error of a log that was not completely copied; nil: it was.
	unfinished error
}

// startLog loads the state before the first commit to print.
func (c *command) startLog() (*logWalk, error) {
	var m *history.Mem
	var err error
	if !c.since.IsZero() {
		m, err = c.loadAt(history.Moment{Time: c.since.Add(-1)})
		if err != nil && !errors.Is(err, history.ErrNotKept) { // the log begins later
			return nil, err
		}
	}
	if m == nil {
		first, err := firstCommit(c)
		if err != nil {
			return nil, err
		}
		if first > 1 { // retention has removed the log before a checkpoint
			if m, err = c.loadAt(history.Moment{Number: first - 1}); err != nil {
				return nil, err
			}
		}
		if m == nil {
			if m, err = history.NewMem(c.ctx, c.found.Partition.Store, c.found.Path); err != nil {
				return nil, err
			}
		}
	}
	l := &logWalk{c: c, state: m, times: m.Times(), replayer: history.Replayer{State: m, Blocks: c.blocks()}}
	l.times.Now = c.now
	if len(c.names) == 1 {
		l.only = append(c.candidates(c.names[0]), c.names[0])
	}
	return l, nil
}

func (c *command) blocks() history.BlockReader {
	return func(ref history.BlockRef) iter.Seq2[*cyrus.Record, error] {
		return history.ReadBlock(context.WithoutCancel(c.ctx), c.found.Partition.Store, ref)
	}
}

// entry is a line of the log.
type entry struct {
	Number     uint64    `json:"number"`
	Time       time.Time `json:"time"`
	StoreTime  time.Time `json:"store_time,omitzero"` // if it is wrong
	Host       string    `json:"host"`
	Connection string    `json:"connection"`
	Client     string    `json:"client"`
	Mailboxes  []*tally  `json:"mailboxes,omitempty"`
	Items      []string  `json:"items,omitempty"`

	about [][]string // for each item: names and uniqueids of its mailboxes
}

func (l *logWalk) commit(r *history.CommitReader) error {
	h := r.Header()
	e := &entry{Number: h.Number, Time: l.c.made(&l.times, h), Host: h.Host, Connection: h.Connection, Client: h.Client}
	if !e.Time.Equal(h.Time) {
		e.StoreTime = h.Time
	}
	for ev, err := range r.Events() {
		if err != nil {
			return err
		}
		if b, ok := ev.(*history.BridgedEvent); ok {
			l.bridged = append(l.bridged, b.Lost...)
		}
		if err := l.event(e, h, ev); err != nil {
			return err
		}
		if err := l.replayer.Apply(h, ev); err != nil && !(len(l.lost) > 0 && history.IsUnreadable(err)) {
			return err
		}
	}
	if l.only != nil && !e.keep(l.only) {
		return nil
	}
	if l.c.max > 0 && l.shown == l.c.max {
		return errEnough
	}
	l.shown++
	if l.c.json {
		w := lines{w: l.c.out}
		w.line(e)
		return w.err
	}
	return e.print(l.c.out, l.c.verbose)
}

// event adds the changes of an event to the entry. The state is the one before the event.
func (l *logWalk) event(e *entry, h history.Header, ev history.Event) error {
	id, ok := mailboxOf(ev)
	if !ok {
		switch ev.(type) {
		case *history.MessagesEvent: // their records show them
		default:
			return l.item(e, ev, itemText(ev))
		}
		return nil
	}
	t, err := l.of(e, id)
	if err != nil {
		return err
	}
	was, err := l.state.Mailbox(id)
	if err != nil {
		return err
	}
	switch ev := ev.(type) {
	case *history.MailboxEvent:
		t.head(was, ev)
	case *history.RecordsEvent:
		for _, r := range ev.Records {
			if err := l.record(t, r); err != nil {
				return err
			}
		}
	case *history.RecordBlocksEvent:
		return l.spooled(t, ev)
	case *history.CompleteEvent:
		return l.swept(t, h)
	case *history.ExpungeEvent:
		t.Expunged += len(ev.UIDs)
	case *history.RenameEvent:
		t.Name = ev.New
		t.note("renamed from %s", ev.Old)
	case *history.UnmailboxEvent:
		t.note("deleted")
	case *history.ResyncEvent:
		t.note("resync: %s", orDone(ev.Reason))
	case *history.AdoptedEvent:
		t.note("came from the backup %s", ev.From)
	case *history.MovedAwayEvent:
		t.note("moved to the backup %s", ev.To)
	}
	return nil
}

// item adds a change that is not about messages.
func (l *logWalk) item(e *entry, ev history.Event, text string) error {
	about := concerns(ev)
	if seen, ok := ev.(*history.SeenEvent); ok {
		m, err := l.state.Mailbox(seen.UniqueID)
		if err != nil {
			return err
		}
		if m != nil {
			about = append(about, m.Name)
		}
	}
	e.Items, e.about = append(e.Items, text), append(e.about, about)
	return nil
}

// concerns returns names and uniqueids of the mailboxes of an item.
func concerns(e history.Event) []string {
	switch e := e.(type) {
	case *history.SubEvent:
		return []string{e.Name}
	case *history.SeenEvent:
		return []string{e.UniqueID}
	case *history.QuotaEvent:
		return []string{e.Root}
	case *history.UnquotaEvent:
		return []string{e.Root}
	case *history.AnnotationEvent:
		return []string{e.Name}
	}
	return nil
}

func orDone(reason string) string {
	if reason == "" {
		return "done"
	}
	return reason
}

// mailboxOf returns the uniqueid of an event about one mailbox.
func mailboxOf(e history.Event) (string, bool) {
	switch e := e.(type) {
	case *history.MailboxEvent:
		return e.UniqueID, true
	case *history.RecordsEvent:
		return e.UniqueID, true
	case *history.RecordBlocksEvent:
		return e.UniqueID, true
	case *history.CompleteEvent:
		return e.UniqueID, true
	case *history.ExpungeEvent:
		return e.UniqueID, true
	case *history.RenameEvent:
		return e.UniqueID, true
	case *history.UnmailboxEvent:
		return e.UniqueID, true
	case *history.ResyncEvent:
		return e.UniqueID, true
	case *history.AdoptedEvent:
		return e.UniqueID, true
	case *history.MovedAwayEvent:
		return e.UniqueID, true
	}
	return "", false
}

// keep removes everything from the entry that is not about the mailbox. It reports whether
// anything is left.
func (e *entry) keep(names []string) bool {
	e.Mailboxes = slices.DeleteFunc(e.Mailboxes, func(t *tally) bool {
		if slices.Contains(names, t.UniqueID) || slices.Contains(names, t.Name) {
			return false
		}
		return !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(t.Notes, "renamed from "+n) })
	})
	var items []string
	for i, text := range e.Items {
		if slices.ContainsFunc(names, func(n string) bool { return slices.Contains(e.about[i], n) }) {
			items = append(items, text)
		}
	}
	e.Items = items
	return len(e.Mailboxes)+len(e.Items) > 0
}

func (e *entry) print(w io.Writer, verbose bool) error {
	var parts []string
	for _, t := range e.Mailboxes {
		parts = append(parts, t.Name+": "+t.summary())
	}
	parts = append(parts, e.Items...)
	if len(parts) == 0 {
		parts = append(parts, "no visible change")
	}
	_, err := cli.Fprintf(w, "%7d  %s  %s  (%s)\n", e.Number, timespec.Text(e.Time), strings.Join(parts, "; "), e.by())
	if !verbose {
		return err
	}
	for _, t := range e.Mailboxes {
		for _, d := range t.details {
			cli.Fprintf(w, "         %s: %s\n", t.Name, strings.TrimSpace(d))
		}
	}
	return err
}

func (e *entry) by() string {
	return strings.Join(strings.Fields(strings.Join([]string{e.Client, cyrus.ShortSessionID(e.Connection), "on", e.Host}, " ")), " ")
}
