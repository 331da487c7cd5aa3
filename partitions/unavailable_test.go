package partitions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// lines collects log lines of level warn and above.
type lines struct {
	slog.Handler
	mu   sync.Mutex
	text []string
}

func newLines() *lines { return &lines{Handler: slog.DiscardHandler} }

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return nil
	}
	text := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, text)
	return nil
}

func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *lines) WithGroup(string) slog.Handler      { return l }

// take returns the lines that contain a text, and drops all lines.
func (l *lines) take(holding string) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.text {
		if strings.Contains(t, holding) {
			out = append(out, t)
		}
	}
	l.text = nil
	return out
}

// attempt is a command for a user.
type attempt struct {
	name string
	run  func(ctx context.Context, s *session.Session, user string) error
}

func nowhere(string, dlist.Value) error { return nil }

// attempts contains one command for each kind of answer (docs/errors.md).
var attempts = []attempt{
	{"GET USER", func(ctx context.Context, s *session.Session, u string) error { return s.GetUser(ctx, u, nowhere) }},
	{"GET MAILBOXES", func(ctx context.Context, s *session.Session, u string) error {
		return s.GetMailboxes(ctx, []string{"user." + u}, nowhere)
	}},
	{"GET META", func(ctx context.Context, s *session.Session, u string) error { return s.GetMeta(ctx, u, nowhere) }},
	{"GET FULLMAILBOX", func(ctx context.Context, s *session.Session, u string) error {
		_, _, err := s.GetFullMailbox(ctx, "user."+u)
		return err
	}},
	{"RESERVE", func(ctx context.Context, s *session.Session, u string) error {
		_, err := s.Reserve(ctx, "default", []string{"user." + u}, []cyrus.GUID{{1}})
		return err
	}},
	{"MAILBOX", func(ctx context.Context, s *session.Session, u string) error {
		return s.ApplyMailbox(ctx, newSource("user."+u).head(), cyrus.Since{}, seq(nil))
	}},
	{"UNMAILBOX", func(ctx context.Context, s *session.Session, u string) error {
		return s.ApplyUnmailbox(ctx, "user."+u)
	}},
	{"RENAME", func(ctx context.Context, s *session.Session, u string) error {
		return s.ApplyRename(ctx, cyrus.Rename{Old: "user." + u, New: "user." + u + ".x", Partition: "default"})
	}},
	{"SUB", func(ctx context.Context, s *session.Session, u string) error {
		return s.ApplySub(ctx, u, "user."+u, true)
	}},
	{"SEEN", func(ctx context.Context, s *session.Session, u string) error {
		return s.ApplySeen(ctx, seenOf(u, "abc", "1"))
	}},
	{"QUOTA", func(ctx context.Context, s *session.Session, u string) error {
		return s.ApplyQuota(ctx, quotaOf("user."+u, 7))
	}},
	{"ANNOTATION", func(ctx context.Context, s *session.Session, u string) error {
		v := "x"
		return s.ApplyAnnotation(ctx, cyrus.MailboxAnnotation{Mailbox: "user." + u, Entry: "/comment", Value: &v})
	}},
	{"UNUSER", func(ctx context.Context, s *session.Session, u string) error { return s.ApplyUnuser(ctx, u) }},
}

// condition is a condition that makes a user's backup, or its partition, unusable.
type condition struct {
	kind    string
	fresh   bool // the condition shows only on a host without an index
	whole   bool // the condition concerns the whole partition
	inflict func(w *conditionWorld)
}

// conditionWorld is a host with two partitions and a user in each of them.
type conditionWorld struct {
	t      *testing.T
	stores [2]*memstore.Store
	faults [2]*faultstore.Store
	users  [2]string
	boxes  [2]*source
}

func (w *conditionWorld) path() string { return "backups/user/" + w.users[0] + "/" }

// every makes all calls of the first partition fail.
func (w *conditionWorld) every(err func(op, key string) error) {
	w.faults[0].Add(faultstore.Fault{Before: err})
}

// edit changes a JSON object of the first partition.
func (w *conditionWorld) edit(key string, change func(map[string]any)) {
	w.t.Helper()
	v := map[string]any{}
	if err := json.Unmarshal(body(w.t, w.stores[0], key), &v); err != nil {
		w.t.Fatal(err)
	}
	change(v)
	b, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	replace(w.t, w.stores[0], key, b)
}

// commit adds a commit with one event to the first user's log.
func (w *conditionWorld) commit(e history.Event, change func([]byte) []byte) {
	w.t.Helper()
	path := "user/" + w.users[0]
	m := load(w.t, w.stores[0], path)
	bld := history.NewBuilder(history.Header{Backup: path, Number: m.Tip().Number + 1, Prev: m.Tip().Hash, Time: time.Now()}, pack.Options{})
	if err := bld.Event(e); err != nil {
		w.t.Fatal(err)
	}
	obj, _, err := bld.Finish(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	replace(w.t, w.stores[0], history.LogKey(path, m.Tip().Number+1), change(obj))
}

func same(b []byte) []byte { return b }

var conditions = []condition{
	{kind: "denied", whole: true, inflict: func(w *conditionWorld) { w.every(faultstore.Denied) }},
	{kind: "store", whole: true, inflict: func(w *conditionWorld) { w.every(faultstore.BadRequest) }},
	{kind: "no-answer", whole: true, inflict: func(w *conditionWorld) { w.every(faultstore.Lost) }},
	{kind: "no-bucket", whole: true, fresh: true, inflict: func(w *conditionWorld) { w.every(faultstore.NoBucket) }},
	{kind: "version", whole: true, fresh: true, inflict: func(w *conditionWorld) {
		w.edit("repository.json", func(v map[string]any) { v["version"] = 99 })
	}},
	{kind: "damage", whole: true, fresh: true, inflict: func(w *conditionWorld) {
		replace(w.t, w.stores[0], "repository.json", []byte("{"))
	}},
	{kind: "emptied", whole: true, inflict: func(w *conditionWorld) {
		for _, key := range objects(w.t, w.stores[0], "") {
			if err := w.stores[0].Delete(w.t.Context(), key); err != nil {
				w.t.Fatal(err)
			}
		}
	}},
	{kind: "foreign", fresh: true, inflict: func(w *conditionWorld) {
		w.edit(w.path()+"backup.json", func(v map[string]any) { v["name"] = "somebody" })
	}},
	{kind: "version", fresh: true, inflict: func(w *conditionWorld) {
		w.edit(w.path()+"backup.json", func(v map[string]any) { v["version"] = 99 })
	}},
	{kind: "damage", fresh: true, inflict: func(w *conditionWorld) {
		replace(w.t, w.stores[0], w.path()+"backup.json", []byte("{"))
	}},
	{kind: "sealed", inflict: func(w *conditionWorld) { w.commit(&history.SealedEvent{}, same) }},
	{kind: "moved", inflict: func(w *conditionWorld) { w.commit(&history.SealedEvent{To: "00112233445566778899aabbccddeeff"}, same) }},
	{kind: "twice", fresh: true, inflict: func(w *conditionWorld) {
		for _, key := range objects(w.t, w.stores[0], w.path()) {
			replace(w.t, w.stores[1], key, body(w.t, w.stores[0], key))
		}
	}},
}

// withCondition makes a world with a condition, and a host for it.
func withCondition(t *testing.T, p condition, log *lines, now func() time.Time) (*conditionWorld, *host) {
	w := &conditionWorld{t: t, stores: [2]*memstore.Store{newStore(), newStore()}}
	options := func(o *partitions.Options) {
		shortWait(o)
		o.Logger, o.NoCheckpoints, o.Now = slog.New(log), true, now
	}
	for i, s := range w.stores {
		w.faults[i] = faultstore.New(s)
	}
	h := newHostWith(t, options, w.faults[0], w.faults[1])
	w.users = placed(t, h, w.stores)
	for i, u := range w.users {
		w.boxes[i] = newSource("user." + u)
		w.boxes[i].deliver(mail(i, 900))
		h.sync(u, w.boxes[i])
	}
	p.inflict(w)
	if p.fresh {
		h.stop()
		h = newHostWith(t, options, w.faults[0], w.faults[1])
	}
	return w, h
}

// Trouble of a backup or a partition is distinguished from all other errors, is logged once
// however often it occurs, and does not affect the user in the other partition.
func TestUnavailable(t *testing.T) {
	for _, p := range conditions {
		name := p.kind
		if p.whole {
			name = "partition/" + name
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := newLines()
			w, h := withCondition(t, p, log, time.Now)
			log.take("")
			for _, a := range attempts {
				s := session.New(h.set, session.Who{Connection: "c"})
				if err := a.run(t.Context(), s, w.users[0]); !errors.Is(err, cyrus.ErrUnavailable) {
					t.Errorf("%s: %v, want ErrUnavailable", a.name, err)
				}
				s.Close()
			}
			if got := log.take("is unavailable"); len(got) != 1 || !strings.Contains(got[0], "kind="+p.kind) || !strings.HasPrefix(got[0], "ERROR") {
				t.Errorf("logged %q, want one error of kind %s", got, p.kind)
			}
			checkTroubles(t, h, p, w)
			if p.fresh && p.whole {
				return // the first request for a user needs both partitions
			}
			w.boxes[1].deliver(mail(77, 900))
			h.sync(w.users[1], w.boxes[1])
			checkBucket(t, w.stores[1], "user/"+w.users[1], w.boxes[1])
		})
	}
}

func checkTroubles(t *testing.T, h *host, p condition, w *conditionWorld) {
	t.Helper()
	got := h.set.Troubles()
	if len(got) != 1 || got[0].Kind != p.kind {
		t.Errorf("troubles %+v, want one of kind %s", got, p.kind)
		return
	}
	want := partitions.Trouble{Backup: "user/" + w.users[0]}
	if p.whole {
		want = partitions.Trouble{Partition: "p0"}
	}
	if got[0].Partition != want.Partition || got[0].Backup != want.Backup {
		t.Errorf("trouble of %+v, want %+v", got[0], want)
	}
}

// Errors of the client, and another connection that holds the backup, are no trouble.
func TestNotUnavailable(t *testing.T) {
	log := newLines()
	w, h := withCondition(t, condition{inflict: func(*conditionWorld) {}}, log, time.Now)
	broken := errors.New("connection reset")
	s := session.New(h.set, session.Who{Connection: "c"})
	defer s.Close()
	ctx := t.Context()
	_, _, missing := s.GetFullMailbox(ctx, "user."+w.users[0]+".none")
	for name, err := range map[string]error{
		"nonexistent": missing,
		"wrong guid":  s.Message(ctx, "default", cyrus.GUID{1}, 3, bytes.NewReader([]byte("abc"))),
		"lost body":   s.Message(ctx, "default", cyrus.GUID{1}, 3, errReader{broken}),
		"lost answer": s.GetUser(ctx, w.users[0], func(string, dlist.Value) error { return broken }),
		"lost records": s.ApplyMailbox(ctx, w.boxes[0].head(), cyrus.Since{}, func(yield func(*cyrus.Record, error) bool) {
			yield(nil, broken)
		}),
	} {
		if err == nil || errors.Is(err, cyrus.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := session.New(h.set, session.Who{Connection: "d"})
	defer other.Close()
	if err := other.GetUser(ctx, w.users[0], nowhere); !errors.Is(err, cyrus.ErrLocked) || errors.Is(err, cyrus.ErrUnavailable) {
		t.Errorf("a backup that another connection holds: %v", err)
	}
	if got := h.set.Troubles(); len(got) != 0 {
		t.Errorf("troubles %+v", got)
	}
	if got := log.take("is unavailable"); len(got) != 0 {
		t.Errorf("logged %q", got)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// A trouble is logged when it begins and when it ends, but not while it lasts. A trouble that
// ends only for a moment has not ended.
func TestTroubleIsLoggedOnce(t *testing.T) {
	log := newLines()
	clock := newTestClock()
	w, h := withCondition(t, conditions[0], log, clock.now)
	get := func() error {
		s := session.New(h.set, session.Who{Connection: "c"})
		defer s.Close()
		return s.GetUser(t.Context(), w.users[0], nowhere)
	}
	for range 5 {
		if err := get(); err == nil {
			t.Fatal("GET USER in a denied partition was answered")
		}
		clock.advance(10 * time.Second)
	}
	w.faults[0].Clear()
	clock.advance(-9 * time.Second)
	if err := get(); err != nil {
		t.Fatal(err)
	}
	w.every(faultstore.Denied)
	if err := get(); err == nil {
		t.Fatal("GET USER in a denied partition was answered")
	}
	if got := log.take("unavailable"); len(got) != 1 {
		t.Errorf("logged %q, want one line", got)
	}
	w.faults[0].Clear()
	clock.advance(time.Minute)
	if err := get(); err != nil {
		t.Fatal(err)
	}
	if got := log.take("can be used again"); len(got) != 1 || len(h.set.Troubles()) != 0 {
		t.Errorf("logged %q, troubles %v", got, h.set.Troubles())
	}
	w.every(faultstore.Denied)
	if err := get(); err == nil {
		t.Fatal("GET USER in a denied partition was answered")
	}
	if got := log.take("unavailable"); len(got) != 1 {
		t.Errorf("the second time: logged %q", got)
	}
}

// A panic in a command affects only the backups of that session, which are read again.
func TestPanicIsUnavailable(t *testing.T) {
	log := newLines()
	w, h := withCondition(t, condition{inflict: func(*conditionWorld) {}}, log, time.Now)
	s := session.New(h.set, session.Who{Connection: "c"})
	defer s.Close()
	err := s.GetUser(t.Context(), w.users[0], func(string, dlist.Value) error { panic("a bug") })
	if !errors.Is(err, cyrus.ErrUnavailable) || !strings.Contains(err.Error(), "a bug") {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if got := h.set.Troubles(); len(got) != 1 || got[0].Kind != "internal" || got[0].Backup != "user/"+w.users[0] {
		t.Errorf("troubles %+v", got)
	}
	for i, u := range w.users {
		w.boxes[i].deliver(mail(50+i, 900))
		h.sync(u, w.boxes[i])
	}
}

// A client does not record some refused commands. The server therefore makes it compare the
// whole user later.
func TestRefusedQuotaIsRequested(t *testing.T) {
	w, h := withCondition(t, conditions[0], newLines(), time.Now)
	ctx := t.Context()
	session := func() *session.Session {
		s := session.New(h.set, session.Who{Connection: "c"})
		t.Cleanup(func() { s.Close() })
		return s
	}
	boxes := []string{"user." + w.users[0]}
	s := session()
	if err := s.ApplyQuota(ctx, quotaOf(boxes[0], 7)); !errors.Is(err, cyrus.ErrUnavailable) {
		t.Fatal(err)
	}
	w.faults[0].Clear()
	if err := s.GetMailboxes(ctx, boxes, nowhere); !errors.Is(err, cyrus.ErrAskUser) || errors.Is(err, cyrus.ErrUnavailable) {
		t.Errorf("GET MAILBOXES: %v, want ErrAskUser", err)
	}
	if err := s.GetMailboxes(ctx, boxes, nowhere); err != nil {
		t.Errorf("GET MAILBOXES again: %v", err)
	}
	w.every(faultstore.Denied)
	s.Restart(ctx)
	if err := s.ApplyUnmailbox(ctx, boxes[0]); !errors.Is(err, cyrus.ErrUnavailable) {
		t.Fatal(err)
	}
	w.faults[0].Clear()
	if err := s.GetUser(ctx, w.users[0], nowhere); err != nil {
		t.Fatal(err)
	}
	if err := s.GetMailboxes(ctx, boxes, nowhere); err != nil {
		t.Errorf("GET MAILBOXES after GET USER: %v", err)
	}
}

// If a lock outlasts the timeout, the backup is unavailable from then on without another timeout.
func TestLongLock(t *testing.T) {
	log := newLines()
	w, h := withCondition(t, condition{kind: "locked", inflict: func(*conditionWorld) {}}, log, time.Now)
	f, err := repository.Find(t.Context(), []repository.Config{{Name: "p0", Store: w.stores[0]}}, repository.UserName(w.users[0]))
	if err != nil {
		t.Fatal(err)
	}
	l := lock(t, f, repository.LockOptions{})
	log.take("")
	for range 3 {
		for _, a := range attempts {
			s := session.New(h.set, session.Who{Connection: "c"})
			if err := a.run(t.Context(), s, w.users[0]); !errors.Is(err, cyrus.ErrUnavailable) || errors.Is(err, cyrus.ErrClose) && a.name != "GET USER" {
				t.Errorf("%s: %v", a.name, err)
			}
			s.Close()
		}
	}
	if got := log.take("is unavailable"); len(got) != 1 || !strings.HasPrefix(got[0], "WARN") {
		t.Errorf("logged %q", got)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.sync(w.users[0], w.boxes[0])
	if got := h.set.Troubles(); len(got) != 0 {
		t.Errorf("troubles %+v", got)
	}
}

// testClock is a clock that the test sets.
type testClock struct {
	mu sync.Mutex
	at time.Time
}

func newTestClock() *testClock { return &testClock{at: time.Now()} }

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
