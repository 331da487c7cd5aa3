package partitions_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A soak test: a mail server, two backup hosts and two buckets go through every kind of trouble
// that docs/design.md promises to survive. The test consists of episodes of some hundred steps.
// An episode is a separate world, made from a seed, so that it can be repeated:
//
//	go test ./partitions -run '^TestSoak$' -soak.seed=N
//	make soak SEED=N STEPS=100000

var (
	soakSeed  = flag.Uint64("soak.seed", 0, "first seed of TestSoak; 0 = a random one")
	soakSteps = flag.Int("soak.steps", 0, "steps of TestSoak in total; 0 = one episode of the seed (without a seed: episodes of known seeds)")
	soakOnly  = flag.String("soak.only", "", "faults of TestSoak by name, comma-separated; empty = all")
	soakTrace = flag.Bool("soak.trace", false, "print each step of TestSoak")
)

// episodeSteps is the number of steps of a world. Its logs grow, and with them the cost of
// comparing.
const episodeSteps = 250

// soakRun is a run over many worlds.
type soakRun struct {
	t     *testing.T
	seeds func() (seed uint64, more bool)
	began time.Time

	mu     sync.Mutex
	steps  int
	counts map[string]int // events by name
}

// episodes runs worlds until there are no more seeds, or one of them fails.
func (r *soakRun) episodes() {
	for !r.t.Failed() {
		r.mu.Lock()
		seed, more := r.seeds()
		r.mu.Unlock()
		if !more {
			return
		}
		w := newSoak(r.t, seed)
		err := w.episode(episodeSteps)
		r.add(w)
		if err != nil {
			r.t.Errorf("seed %d, step %d: %v\n%s\nto repeat it:\n\tgo test ./partitions -run '^TestSoak$' -soak.seed=%d",
				w.seed, w.step, err, w.story(), w.seed)
		}
	}
}

func (r *soakRun) add(w *soak) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps += w.step
	for k, n := range w.counts {
		r.counts[k] += n
	}
	if before := r.steps - w.step; before/10_000 != r.steps/10_000 {
		r.t.Logf("%d steps", r.steps)
	}
}

// run runs all worlds, on all processors, and reports the outcome.
func (r *soakRun) run() {
	r.began, r.counts = time.Now(), map[string]int{}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(r.episodes)
	}
	wg.Wait()
	took := time.Since(r.began)
	r.t.Logf("%d steps in %v, %.0f a second", r.steps, took.Round(time.Second), float64(r.steps)/took.Seconds())
	var counts []string
	for _, k := range slices.Sorted(maps.Keys(r.counts)) {
		counts = append(counts, fmt.Sprintf("%7d %s", r.counts[k], k))
	}
	r.t.Log("what happened:\n" + strings.Join(counts, "\n"))
}

// listed returns the given seeds.
func listed(seeds ...uint64) func() (uint64, bool) {
	return func() (uint64, bool) {
		if len(seeds) == 0 {
			return 0, false
		}
		s := seeds[0]
		seeds = seeds[1:]
		return s, true
	}
}

// from returns consecutive seeds for the given number of steps.
func from(seed uint64, steps int) func() (uint64, bool) {
	return func() (uint64, bool) {
		seed, steps = seed+1, steps-episodeSteps
		return seed - 1, steps > -episodeSteps
	}
}

// Under any fault of buckets, networks, clocks, indexes and processes, everything that was
// answered with OK is readable, or verify reports it as lost. Then a repair and the next sync
// restore it. Users that the damage does not affect never see an error.
func TestSoak(t *testing.T) {
	seed, r := *soakSeed, &soakRun{t: t}
	switch {
	case seed != 0:
		r.seeds = from(seed, max(*soakSteps, 1))
	case *soakSteps != 0:
		seed = rand.Uint64() >> 16
		r.seeds = from(seed, *soakSteps)
	default: // the second has found faults; make soak tries others
		t.Parallel()
		r.seeds = listed(1, 265787313332431)
	}
	if seed != 0 {
		t.Logf("seed %d", seed)
	}
	r.run()
}
