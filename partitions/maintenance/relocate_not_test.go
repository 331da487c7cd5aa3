package maintenance_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A place leads neither to a condemned pack nor to one that lacks the entry, and a pack that still exists
// is not left. A checkpoint of a young commit is not touched, nor is a backup whose former blocks no retention
// would remove.
func TestRelocateNot(t *testing.T) {
	w := newMoving(t)
	restore := w.again()
	for name, prevent := range preventions() {
		t.Run(name, func(t *testing.T) {
			w.t = t
			restore()
			prevent(w)
			before := w.memory.Snapshot()
			if done, err := w.relocate(); err != nil || done.Checkpoints > 0 {
				t.Errorf("%+v, %v", done, err)
			}
			changed := slices.DeleteFunc(w.memory.Changed(before), func(key string) bool { return strings.HasSuffix(key, "/upkeep.json") })
			if len(changed) > 0 {
				t.Errorf("changed: %v", changed)
			}
		})
	}
}

// preventions are reasons to put no checkpoint again.
func preventions() map[string]func(*moving) {
	return map[string]func(*moving){
		"condemned": func(w *moving) {
			list := history.Condemned{Version: history.Version}
			for key := range w.objects("packs/") {
				list.Packs = append(list.Packs, history.CondemnedPack{Key: key, Since: w.now})
			}
			b, err := list.Append(nil)
			w.must(err)
			w.put(history.CondemnedKey, b)
		},
		"exists": func(w *moving) {
			for _, key := range w.moved {
				w.put(key, []byte("x"))
			}
		},
		"lacks the entry": func(w *moving) {
			other := w.pack(w.anyPlace())
			for _, key := range w.moved {
				w.must(repository.ChangeMoved(w.t.Context(), w.memory, false, w.now, key, func(m *history.Moved) bool {
					for e := range m.Entries {
						m.Entries[e] = other
					}
					return true
				}))
			}
		},
		"no note": func(w *moving) {
			for _, key := range w.moved {
				note, _ := history.MovedKey(key)
				w.memory.Lose(note)
			}
		},
		"damaged note": func(w *moving) {
			for _, key := range w.moved {
				note, _ := history.MovedKey(key)
				w.memory.Truncate(note, 50)
			}
		},
		"interrupted": func(w *moving) {
			first, err := w.log().First(w.t.Context())
			w.must(err)
			w.memory.Lose(history.CheckpointKey(anne, first-1))
		},
		"sealed": func(w *moving) {
			w.commit(&history.SealedEvent{Reason: "moved", To: repository.NewID()})
		},
		"hole": func(w *moving) {
			w.memory.Lose(history.LogKey(anne, w.tip.Number-1))
		},
		"bridged": func(w *moving) {
			lost := w.tip.Number - 1
			w.memory.Lose(history.LogKey(anne, lost))
			w.commit(&history.BridgedEvent{Lost: []history.LostRange{{From: lost, To: lost}}})
		},
	}
}
