package partitions_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// soak is a world: a mail server, its users, two backup hosts and two buckets.
type soak struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	dir     string // directory of the indexes
	clock   *soakClock
	parts   []*soakPart
	hosts   []*soakHost
	tools   []*soakTool
	reader  *soakReader // nil: nobody restores
	amid    error       // of something in the middle of a night
	hurt    int         // number of damages
	users   []*soakUser
	mail    [][]byte // delivered bodies: some are delivered to other users, too
	counter int
	step    int
	counts  map[string]int
	ill     *illness // damage that is not healed yet; nil = none
	rolled  bool     // a bucket was rolled back
	undone  bool     // commits were lost: a mailbox that one of them has ended can be live again
	rotten  bool     // packs may be damaged in parts that no backup referred to when they were healed
	events  []soakEvent
	aside   []soakAside
	owners  map[string]map[string]bool // which backups have ever had a message or mailbox: by GUID or uniqueid, and by path
	erased  map[string]string          // of whom, by GUID or uniqueid
	harmed  map[string]bool            // paths of backups that may have lost commits since the last complete collection

	unzip *zstd.Decoder

	mu    sync.Mutex // guards trace, counts and harmed: hosts log in the background
	trace []string
}

// soakClock holds the true time.
type soakClock struct{ at atomic.Int64 }

func (c *soakClock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *soakClock) advance(d time.Duration) { c.at.Add(int64(d)) }

// soakPart is a bucket.
type soakPart struct {
	name  string
	store *memstore.Store
	off   atomic.Int64 // error of its clock in nanoseconds
	past  []memstore.Snapshot
	lacks bool // packs were lost, and a host may not know this yet

	searched map[string]*searched // by key
}

// Config returns the bucket as tools reach it, without network trouble.
func (p *soakPart) Config() repository.Config {
	return repository.Config{Name: p.name, Location: "memory", Store: p.store}
}

func newSoak(t *testing.T, seed uint64) *soak {
	w := &soak{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), clock: new(soakClock), counts: map[string]int{}, owners: map[string]map[string]bool{}, erased: map[string]string{}, harmed: map[string]bool{}, events: soakEvents()}
	if w.undamaged() {
		w.events = slices.DeleteFunc(w.events, func(e soakEvent) bool {
			return slices.ContainsFunc(slices.Concat(bucketEvents, clockEvents), func(b soakEvent) bool { return b.name == e.name })
		})
	}
	w.clock.at.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	for i := range 2 {
		p := &soakPart{name: fmt.Sprintf("p%d", i)}
		p.store = memstore.New(func() time.Time { return w.clock.now().Add(time.Duration(p.off.Load())) })
		w.parts = append(w.parts, p)
	}
	return w
}

// memoryDir creates a directory for indexes, in memory if possible, where fsync costs nothing.
func memoryDir() (string, error) {
	const shm = "/dev/shm"
	if i, err := os.Stat(shm); err == nil && i.IsDir() {
		if dir, err := os.MkdirTemp(shm, "soak"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "soak")
}

// episode runs one world from start to end.
func (w *soak) episode(steps int) (err error) {
	defer func() {
		if p := recover(); p != nil && !w.t.Failed() {
			panic(fmt.Sprintf("seed %d, step %d: %v\n%s", w.seed, w.step, p, w.story()))
		}
	}()
	if w.dir, err = memoryDir(); err != nil {
		return err
	}
	defer func() {
		for _, h := range w.hosts {
			err = errors.Join(err, h.stop())
		}
		err = errors.Join(err, os.RemoveAll(w.dir))
	}()
	if err := w.begin(); err != nil {
		return err
	}
	for w.step < steps {
		w.step++
		w.clock.advance(w.pause())
		if err := w.act(); err != nil {
			return err
		}
		if err := errors.Join(w.restartKilled(), w.endReading()); err != nil {
			return err
		}
	}
	if err := w.heal(); err != nil {
		return err
	}
	if err := w.checkPast(); err != nil || !w.undamaged() {
		return err
	}
	return w.lastNights()
}

// begin creates the hosts, and some users with mail.
func (w *soak) begin() error {
	for i := range 2 {
		h := w.newHost(i)
		w.hosts = append(w.hosts, h)
		if err := h.start(); err != nil {
			return err
		}
	}
	for i := range 2 {
		w.tools = append(w.tools, w.newTool(i))
	}
	for range 4 {
		if err := w.sync(w.newUser()); err != nil {
			return err
		}
	}
	for i := 0; w.parts[0].empty() || w.parts[1].empty(); i++ { // other tests cover a disk that was never mounted
		if err := w.sync(w.newUser()); err != nil {
			return err
		}
		if i > 20 {
			return errors.New("no user is placed in one of the partitions")
		}
	}
	w.snapshot()
	return nil
}

// undamaged reports whether nothing damages the buckets of this world, and all clocks are right. In
// such worlds, nothing may be left of mail that is long gone.
func (w *soak) undamaged() bool { return *soakOnly == "" && w.seed%3 == 0 }

func (p *soakPart) empty() bool { return len(p.store.Keys("repository.json")) == 0 }

// pause returns the time between two steps: mostly seconds, sometimes a whole night.
func (w *soak) pause() time.Duration {
	switch n := w.rng.IntN(20); {
	case n < 14:
		return time.Duration(w.rng.IntN(30000)) * time.Millisecond
	case n < 18:
		return time.Duration(w.rng.IntN(40)) * time.Minute
	default:
		return time.Duration(w.rng.IntN(30)) * time.Hour
	}
}

func (w *soak) number() int { w.counter++; return w.counter }

// note adds a line to the story that a failing episode prints.
func (w *soak) note(format string, args ...any) {
	line := fmt.Sprintf("%4d %s ", w.step, w.clock.now().UTC().Format("02T15:04:05")) + fmt.Sprintf(format, args...)
	w.add(line)
}

// logged adds a line that a host has logged.
func (w *soak) logged(line string) { w.add("       " + line) }

func (w *soak) add(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if *soakTrace {
		fmt.Println(line)
	}
	w.trace = append(w.trace, line)
}

// story returns the last lines of the trace, with the hosts' log lines.
func (w *soak) story() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.trace[max(0, len(w.trace)-150):], "\n")
}

// pick draws one element.
func pick[T any](w *soak, from []T) T { return from[w.rng.IntN(len(from))] }

// one returns true once in n times.
func (w *soak) one(n int) bool { return w.rng.IntN(n) == 0 }
