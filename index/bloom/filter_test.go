package bloom

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestFilterNeverForgets adds from several goroutines while the filter grows, and beyond its
// memory.
func TestFilterNeverForgets(t *testing.T) {
	for _, most := range []int64{0, 128 << 10, 8 << 20} {
		f := New(0, most)
		var all sync.WaitGroup
		for seed := range uint64(4) {
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, seed))
				for range 40_000 {
					h := rnd.Uint64()
					if f.Add(h); !f.Has(h) {
						t.Errorf("%x was added and is not found", h)
						return
					}
				}
			})
		}
		all.Wait()
		for seed := range uint64(4) {
			rnd := rand.New(rand.NewPCG(seed, seed))
			for range 40_000 {
				if h := rnd.Uint64(); !f.Has(h) {
					t.Fatalf("most %d: %x was added and is not found", most, h)
				}
			}
		}
		if f.Bytes() > max(most, leastLayer) {
			t.Errorf("%d bytes, at most %d are allowed", f.Bytes(), most)
		}
	}
}

// TestFilterSelects bounds how often a filter that has room is wrong.
func TestFilterSelects(t *testing.T) {
	for _, c := range []struct {
		name       string
		room, most int64
		wrong      float64 // share
	}{
		{"of the right size", 200_000, 1 << 20, 0.02},
		{"that has grown", 0, 1 << 20, 0.06},
		{"with half of the memory", 200_000, 1 << 17, 0.2},
	} {
		f := New(c.room, c.most)
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 200_000 {
			f.Add(rnd.Uint64())
		}
		wrong := 0
		for range 20_000 {
			if f.Has(rnd.Uint64()) {
				wrong++
			}
		}
		t.Logf("%s: %d bytes, %d of 20,000", c.name, f.Bytes(), wrong)
		if share := float64(wrong) / 20_000; share > c.wrong {
			t.Errorf("a filter %s finds %.3f of all that were not added, at most %.3f is right", c.name, share, c.wrong)
		}
	}
}
