package repository_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// keeping is a bucket with a list of notes that nothing needs.
type keeping struct {
	t   *testing.T
	mem *memstore.Store
	at  time.Time // of the bucket
	now time.Time // the beginning
}

func newKeeping(t *testing.T) *keeping {
	k := &keeping{t: t, now: time.Now().UTC().Truncate(time.Second)}
	k.at = k.now
	k.mem = memstore.New(func() time.Time { return k.at })
	return k
}

// ago returns a time before the beginning.
func (k *keeping) ago(d time.Duration) time.Time { return k.now.Add(-d) }

func packNumber(n byte) history.PackID { return history.PackID{n} }

// list puts a list.
func (k *keeping) list(lost time.Time, lines ...history.RetiredNote) {
	k.t.Helper()
	var b bytes.Buffer
	w, err := history.NewRetiredWriter(&b, lost)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, n := range lines {
		if err := w.Add(n); err != nil {
			k.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		k.t.Fatal(err)
	}
	k.put(b.Bytes())
}

func (k *keeping) put(b []byte) {
	k.t.Helper()
	if _, err := k.mem.Put(k.t.Context(), history.RetiredKey, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		k.t.Fatal(err)
	}
}

// lines returns the list.
func (k *keeping) lines() (lines []history.RetiredNote) {
	k.t.Helper()
	list, err := history.OpenRetired(k.t.Context(), k.mem)
	if err != nil {
		k.t.Fatal(err)
	}
	defer list.Close()
	for n, err := range list.Notes() {
		if err != nil {
			k.t.Fatal(err)
		}
		lines = append(lines, n)
	}
	return lines
}

// keep keeps the note about pack 1, which was asked for an hour ago.
func (k *keeping) keep(s objstore.Store) (again bool, err error) {
	return repository.KeepNotes(k.t.Context(), s, k.ago(time.Hour), k.now, func(pack string) bool { return pack == history.PackKey(packNumber(1)) })
}

// A note stays, has to be looked for again, or cannot be relied on before its removal has arrived.
func TestKeepNotes(t *testing.T) {
	for name, c := range map[string]struct {
		lost                    time.Duration
		unused, ending, removed time.Duration // ago; 0 = never
		other                   bool          // the line is about another pack
		again, ends             bool
	}{
		"not on the list":                {other: true, removed: time.Minute},
		"unused":                         {unused: 40 * 24 * time.Hour},
		"ends soon":                      {unused: 40 * 24 * time.Hour, ending: 19 * time.Hour},
		"ends":                           {unused: 40 * 24 * time.Hour, ending: 25 * time.Hour},
		"removed before":                 {removed: 3*time.Hour + time.Minute},
		"removed meanwhile":              {removed: 2*time.Hour + time.Minute, again: true},
		"being removed":                  {removed: time.Hour, again: true, ends: true},
		"list made again before":         {lost: 3*time.Hour + time.Minute, other: true, ending: time.Hour},
		"list made again meanwhile":      {lost: 2*time.Hour + time.Minute, other: true, ending: time.Hour, again: true},
		"list made again a moment ago":   {lost: time.Minute, other: true, ending: time.Hour, again: true, ends: true},
		"ends again after a late remove": {removed: 3*time.Hour + time.Minute, unused: time.Hour, ending: 21 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeping(t)
			at := func(d time.Duration) (at time.Time) {
				if d != 0 {
					at = k.ago(d)
				}
				return at
			}
			n := history.RetiredNote{Pack: packNumber(1), Unused: at(c.unused), Ending: at(c.ending), Removed: at(c.removed)}
			if c.other {
				n.Pack = packNumber(2)
			}
			last := history.RetiredNote{Pack: packNumber(9), Unused: k.ago(50 * 24 * time.Hour), Ending: k.ago(30 * time.Hour)}
			k.list(at(c.lost), n, last)
			again, err := k.keep(k.mem)
			if again != c.again || errors.Is(err, repository.ErrNoteEnds) != c.ends || err != nil && !c.ends {
				t.Errorf("%v, %v", again, err)
			}
			want := []history.RetiredNote{n, last}
			if !c.other && c.ending > 20*time.Hour {
				if want[0].Unused, want[0].Ending = (time.Time{}), (time.Time{}); c.removed == 0 {
					want = want[1:]
				}
			}
			if is := k.lines(); len(is) != len(want) || is[0] != want[0] || is[len(is)-1] != last {
				t.Errorf("the list is %+v, want %+v", is, want)
			}
		})
	}
}

// A damaged list stops no copy: nobody can remove a note with it, except a collection that has put it lately.
func TestKeepNotesDamagedList(t *testing.T) {
	k := newKeeping(t)
	for _, c := range []struct {
		put         time.Duration // ago
		again, ends bool
	}{{3*time.Hour + time.Minute, false, false}, {2*time.Hour + time.Minute, true, false}, {time.Hour, true, true}} {
		k.at = k.ago(c.put)
		k.put([]byte("damaged"))
		if again, err := k.keep(k.mem); again != c.again || errors.Is(err, repository.ErrNoteEnds) != c.ends || err != nil && !c.ends {
			t.Errorf("put %s ago: %v, %v", c.put, again, err)
		}
	}
}

// The put of the list fails, or its answer is lost, or a collection puts the list first.
func TestKeepNotesWithFaults(t *testing.T) {
	ending := func(k *keeping) history.RetiredNote {
		return history.RetiredNote{Pack: packNumber(1), Unused: k.ago(40 * 24 * time.Hour), Ending: k.ago(25 * time.Hour)}
	}
	puts := func(op, key string) bool { return op == "put" && key == history.RetiredKey }
	for name, c := range map[string]struct {
		fault func(k *keeping) faultstore.Fault
		want  error
		left  int
	}{
		"lost":        {func(*keeping) faultstore.Fault { return faultstore.Fault{Count: 1, Before: faultstore.Lost} }, nil, 0},
		"answer lost": {func(*keeping) faultstore.Fault { return faultstore.Fault{Count: 1, After: faultstore.Lost} }, nil, 0},
		"denied":      {func(*keeping) faultstore.Fault { return faultstore.Fault{Before: faultstore.Denied} }, objstore.ErrDenied, 1},
		"removed first": {func(k *keeping) faultstore.Fault {
			return faultstore.Fault{Count: 1, Call: func(string, string) {
				k.list(time.Time{}, history.RetiredNote{Pack: packNumber(1), Removed: k.now})
			}}
		}, repository.ErrNoteEnds, 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeping(t)
			k.list(time.Time{}, ending(k))
			s := faultstore.New(k.mem)
			f := c.fault(k)
			f.Match = puts
			s.Add(f)
			if _, err := k.keep(s); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if is := k.lines(); len(is) != c.left {
				t.Errorf("the list is %+v", is)
			}
		})
	}
}
