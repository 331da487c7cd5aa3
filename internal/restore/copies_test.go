package restore_test

import (
	"crypto/sha1"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

// Restoring into the server that the mail came from, backing it up and restoring again adds
// nothing the second time. No mailbox gets more copies of a message than it had at one moment,
// whatever was moved, copied, expunged, deleted and restored before.
func TestCopies(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, removes: seed%2 == 0, rng: rand.New(rand.NewPCG(seed, 0)), b: restoretest.New(t, "anne"), live: map[string]*restoretest.Box{}, bodies: map[cyrus.GUID]string{}}
			for range 2 {
				for range 25 {
					w.step()
					w.past = append(w.past, w.now())
				}
				w.sync()
				for _, about := range slices.Sorted(maps.Keys(selections)) {
					w.thrice(about, selections[about](w))
				}
			}
		})
	}
}

// selections are the kinds of requests.
var selections = map[string]func(*world) restore.Options{
	"all":          func(*world) restore.Options { return restore.Options{All: true} },
	"all expunged": func(*world) restore.Options { return restore.Options{All: true, Deleted: restore.Only} },
	"all in a window": func(w *world) restore.Options {
		return restore.Options{All: true, Since: w.some(), Until: w.some().Add(time.Hour)}
	},
	"a mailbox": func(w *world) restore.Options { return restore.Options{Objects: []string{w.name()}} },
	"two mailboxes": func(w *world) restore.Options {
		return restore.Options{Objects: []string{w.name(), w.name()}, Recursive: true}
	},
	"expunged of one": func(w *world) restore.Options {
		return restore.Options{Objects: []string{w.name()}, Deleted: restore.Only}
	},
	"messages":         func(w *world) restore.Options { return restore.Options{Objects: []string{w.guid(), w.guid()}} },
	"message, mailbox": func(w *world) restore.Options { return restore.Options{Objects: []string{w.guid(), w.name()}} },
	"into one": func(w *world) restore.Options {
		return restore.Options{Objects: []string{w.name(), w.name()}, Into: "user.anne.Into"}
	},
	"all then": func(w *world) restore.Options {
		w.at = w.times[w.rng.IntN(len(w.times))]
		return restore.Options{All: true, LiveOnly: true}
	},
	"box, live only": func(w *world) restore.Options { return restore.Options{Objects: []string{w.name()}, LiveOnly: true} },
}

// world is a mail server and its backup.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	b       *restoretest.Backup
	removes bool // whole mailboxes are deleted as well
	n       int
	bodies  map[cyrus.GUID]string
	live    map[string]*restoretest.Box
	times   []time.Time                     // of the backups
	at      time.Time                       // the moment of the next restore; zero = now
	past    []map[string]map[cyrus.GUID]int // after each step: the copies of each message, by mailbox
}

var boxNames = []string{"user.anne", "user.anne.Work", "user.anne.Work.2026", "user.anne.Side"}

func (w *world) name() string { return boxNames[w.rng.IntN(len(boxNames))] }

func (w *world) body(n int) string { return restoretest.Mail(fmt.Sprint("m", n)) }

func (w *world) guid() string {
	return cyrus.GUID(sha1.Sum([]byte(w.body(w.rng.IntN(w.n + 1))))).String()
}

func (w *world) some() time.Time { return time.Unix(1700000000+w.rng.Int64N(100)*3600, 0) }

func (w *world) box(name string) *restoretest.Box {
	if w.live[name] == nil {
		w.n++
		x := w.b.Box(name)
		x.UniqueID = fmt.Sprintf("%024x", w.n)
		w.live[name] = x
	}
	return w.live[name]
}

// step performs a random action of a user.
func (w *world) step() {
	x := w.box(w.name())
	records := x.Live()
	if k := w.rng.IntN(10); k < 4 || len(records) == 0 {
		w.n++
		r := x.Deliver(w.body(w.n), 1700000000+w.rng.Int64N(100)*3600)
		w.bodies[r.GUID] = w.body(w.n)
		return
	}
	r := records[w.rng.IntN(len(records))]
	switch w.rng.IntN(6) {
	case 0:
		x.Set(r.UID, `\Deleted`, `\Expunged`)
	case 1, 2, 3:
		x.Set(r.UID, `\Expunged`)
		w.box(w.name()).Deliver(w.bodies[r.GUID], r.InternalDate)
	case 4:
		w.box(w.name()).Deliver(w.bodies[r.GUID], r.InternalDate)
	case 5:
		if w.removes && w.rng.IntN(4) == 0 {
			w.sync()
			w.remove(x)
		}
	}
}

// remove deletes a mailbox, at once or with delay.
func (w *world) remove(x *restoretest.Box) {
	delete(w.live, x.Name)
	w.b.Boxes = slices.DeleteFunc(w.b.Boxes, func(y *restoretest.Box) bool { return y == x })
	var err error
	if w.rng.IntN(2) == 0 {
		err = w.b.Session().ApplyUnmailbox(w.t.Context(), x.Name)
	} else {
		w.n++
		to := fmt.Sprintf("DELETED.%s.%X", x.Name, 1700000000+w.n)
		err = w.b.Session().ApplyRename(w.t.Context(), cyrus.Rename{Old: x.Name, New: to, UIDValidity: 1700000000})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// sync backs up and records the copies at this moment.
func (w *world) sync() {
	w.times = append(w.times, w.b.Sync())
	w.past = append(w.past, w.now())
}

func (w *world) now() map[string]map[cyrus.GUID]int {
	now := map[string]map[cyrus.GUID]int{}
	for name, x := range w.live {
		now[name] = map[cyrus.GUID]int{}
		for _, r := range x.Live() {
			now[name][r.GUID]++
		}
	}
	return now
}

// thrice restores three times, with a backup after each run.
func (w *world) thrice(about string, o restore.Options) {
	w.t.Helper()
	at := w.at
	w.at = time.Time{}
	for run := range 3 {
		added, folders := w.restore(o, at)
		if o.Into != "" {
			folders = nil // Into collects messages of several mailboxes
		}
		if run > 0 && added > 0 {
			w.t.Fatalf("%s: run %d of %+v added %d messages", about, run+1, o, added)
		}
		for _, f := range folders {
			w.bounded(about, []string{f})
		}
		// A deleted mailbox or an old state is restored completely, even if the messages
		// are in other mailboxes by now.
		if !w.removes && at.IsZero() {
			w.bounded(about, folders)
		}
		w.sync()
	}
}

// bounded fails if the named mailboxes together have more copies of a message than ever before.
func (w *world) bounded(about string, names []string) {
	w.t.Helper()
	for g, n := range together(w.now(), names) {
		most := 0
		for _, p := range w.past {
			most = max(most, together(p, names)[g])
		}
		if n > most {
			w.t.Fatalf("%s: %s: %d copies in %q, never more than %d before", about, g, n, names, most)
		}
	}
}

func together(at map[string]map[cyrus.GUID]int, names []string) map[cyrus.GUID]int {
	sum := map[cyrus.GUID]int{}
	for _, name := range names {
		for g, n := range at[name] {
			sum[g] += n
		}
	}
	return sum
}

// restore does the work of a destination: add the missing copies.
func (w *world) restore(o restore.Options, at time.Time) (added int, folders []string) {
	o.DeletedPrefix = "DELETED"
	s := w.b.Source(at)
	sel, err := s.Select(o)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range sel.Folders {
		folders = append(folders, f.Name)
		x := w.box(f.Name)
		have := map[cyrus.GUID]int{}
		for _, r := range x.Live() {
			have[r.GUID]++
		}
		for _, ref := range f.Messages {
			m, err := s.Message(ref)
			if err != nil {
				w.t.Fatal(err)
			}
			if have[m.GUID]--; have[m.GUID] >= 0 {
				continue
			}
			x.Deliver(w.bodies[m.GUID], m.InternalDate, m.Flags...)
			added++
		}
	}
	return added, folders
}
