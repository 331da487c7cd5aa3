package maintenance_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Simulated years with random commits, checkpoints, merges and runs of retention. After each run,
// every moment that the rules keep is equal, and nothing else is left.
func TestYears(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newPast(t)
			w.random = rand.New(rand.NewPCG(seed, 5))
			w.policy.Daily, w.policy.Weekly, w.policy.Monthly, w.policy.Yearly = int(seed)*3, 4, int(seed)*5, 2
			w.create("inbox")
			days := 400
			if short() {
				days = 60
			}
			cut, slow := uint64(0), time.Time{}
			for day := range days {
				acts := w.random.IntN(4)
				for range acts {
					w.act()
					w.hours(w.random.IntN(5))
				}
				if w.random.IntN(9) == 0 {
					w.checkpoint()
					if acts == 0 { // long after its commit, as if somebody had put it again
						slow = w.now
					}
				}
				w.hours(12)
				if w.random.IntN(3) > 0 {
					w.merge()
				}
				if w.random.IntN(60) == 0 {
					w.days(25) // nobody works
				}
				if w.random.IntN(3) == 0 || day > days-3 {
					if w.now.Sub(slow) < 24*time.Hour { // until then, retention leaves the blocks to readers
						w.hours(24)
					}
					done := w.mustRetain()
					cut = max(cut, done.Cut.Number)
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			if cut < w.tip.Number/2 {
				t.Errorf("of %d commits only %d were removed", w.tip.Number, cut)
			}
		})
	}
}

// act makes a random commit.
func (w *past) act() {
	boxes := w.names()
	box := boxes[w.random.IntN(len(boxes))]
	switch w.random.IntN(10) {
	case 0:
		w.create(fmt.Sprintf("box%d", w.tip.Number))
	case 1:
		if box != "inbox" {
			w.commit(&history.UnmailboxEvent{UniqueID: box, Name: "user.anne." + box})
			delete(w.boxes, box)
		}
	case 2:
		if box != "inbox" {
			w.deleteLater(box)
			delete(w.boxes, box)
		}
	case 3:
		w.commit(&history.SubEvent{User: "anne", Name: "user.anne." + box, Subscribed: w.random.IntN(2) == 0})
	case 4, 5:
		if len(w.boxes[box]) > 0 {
			w.expunge(box, 1+w.random.IntN(3))
		}
	case 6:
		w.wide = true
		w.deliver(box, 1+w.random.IntN(20))
	case 7:
		w.commitWith(1, box, true)
	default:
		w.deliver(box, 1+w.random.IntN(3))
	}
}

func (w *past) names() []string {
	var names []string
	for name := range w.boxes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
