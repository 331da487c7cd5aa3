package partitions_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// soak is a world: a mail server, its users, two backup hosts and two buckets.
type soak struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	dir     string // of the indexes
	clock   *soakClock
	parts   []*soakPart
	hosts   []*soakHost
	users   []*soakUser
	mail    [][]byte // bodies that were delivered: some are delivered to others too
	counter int
	step    int
	counts  map[string]int
	ill     *illness // damage that is not yet healed; nil = none
	events  []soakEvent

	mu    sync.Mutex // guards trace: hosts log in the background
	trace []string
}

// soakClock is the true time.
type soakClock struct{ at atomic.Int64 }

func (c *soakClock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *soakClock) advance(d time.Duration) { c.at.Add(int64(d)) }

// soakPart is a bucket.
type soakPart struct {
	name  string
	store *memstore.Store
	off   atomic.Int64 // nanoseconds by which its clock is wrong
	past  []memstore.Snapshot
	lacks bool // packs were lost, and a host may believe that they are there
}

// config is how tools see the bucket: nothing is wrong on their way to it.
func (p *soakPart) Config() repository.Config {
	return repository.Config{Name: p.name, Location: "memory", Store: p.store}
}

func newSoak(t *testing.T, seed uint64) *soak {
	w := &soak{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), clock: new(soakClock), counts: map[string]int{}, events: soakEvents()}
	w.clock.at.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	for i := range 2 {
		p := &soakPart{name: fmt.Sprintf("p%d", i)}
		p.store = memstore.New(func() time.Time { return w.clock.now().Add(time.Duration(p.off.Load())) })
		w.parts = append(w.parts, p)
	}
	return w
}

// memory is a directory for indexes: where syncing a file costs nothing, if there is one.
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
		if err := w.burials(); err != nil {
			return err
		}
	}
	if err := w.heal(); err != nil {
		return err
	}
	return w.checkPast()
}

// begin makes the hosts, and some users with mail.
func (w *soak) begin() error {
	for i := range 2 {
		h := w.newHost(i)
		w.hosts = append(w.hosts, h)
		if err := h.start(); err != nil {
			return err
		}
	}
	for range 4 {
		if err := w.sync(w.newUser()); err != nil {
			return err
		}
	}
	for i := 0; w.parts[0].empty() || w.parts[1].empty(); i++ { // a disk that was never mounted is another subject
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

func (p *soakPart) empty() bool { return len(p.store.Keys("repository.json")) == 0 }

// pause is the time between two steps: mostly seconds, sometimes as long as an
// administrator sleeps.
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

// note adds a line to what is printed when the episode fails.
func (w *soak) note(format string, args ...any) {
	line := fmt.Sprintf("%4d %s ", w.step, w.clock.now().UTC().Format("02T15:04:05")) + fmt.Sprintf(format, args...)
	w.tell(line)
}

// logged adds what a host has logged.
func (w *soak) logged(line string) { w.tell("       " + line) }

func (w *soak) tell(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if *soakTrace {
		fmt.Println(line)
	}
	w.trace = append(w.trace, line)
}

// story is the end of what happened, with what the hosts logged meanwhile.
func (w *soak) story() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.trace[max(0, len(w.trace)-150):], "\n")
}

// pick draws one of some things.
func pick[T any](w *soak, from []T) T { return from[w.rng.IntN(len(from))] }

// one in n times.
func (w *soak) one(n int) bool { return w.rng.IntN(n) == 0 }
