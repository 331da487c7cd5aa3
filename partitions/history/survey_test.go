package history

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// A retained event is found behind a commit that cannot be read, and behind a hole; near the end of a long log, it is found
// with few requests.
func TestSurveyRetained(t *testing.T) {
	const first, newest = 11, 120
	for _, at := range []uint64{12, 60, 119, newest, 0} {
		for name, harm := range map[string]func(*memstore.Store){
			"whole":   func(*memstore.Store) {},
			"damaged": func(s *memstore.Store) { s.Flip(LogKey("user/anne", 30), 200) },
			"hole":    func(s *memstore.Store) { s.Lose(LogKey("user/anne", 30)) },
		} {
			s := memstore.New(nil)
			putLog(t, s, first, newest, at)
			harm(s)
			var gets atomic.Int64
			s.SetFaults(func(op, key string) error {
				if op == "get" && strings.HasPrefix(key, "backups/") {
					gets.Add(1)
				}
				return nil
			}, nil)
			l := &Log{Store: s, Backup: "user/anne"}
			survey, err := l.Survey(t.Context())
			if err != nil || survey.First != first {
				t.Fatal(survey, err)
			}
			gets.Store(0)
			for _, after := range []uint64{0, 40, 100} {
				if got, err := survey.Retained(t.Context(), after); err != nil || got != (at > 0) {
					t.Errorf("%s, event in commit %d, after %d: %v, %v", name, at, after, got, err)
				}
			}
			if n := gets.Load(); at == 119 && n > 20 {
				t.Errorf("%s: %d requests", name, n)
			}
		}
	}
}

// putLog puts the commits first … newest, of which one has a retained event (0 = none).
func putLog(t *testing.T, s *memstore.Store, first, newest, retained uint64) {
	t.Helper()
	prev := strings.Repeat("0", 64)
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for n := first; n <= newest; n++ {
		b := NewBuilder(Header{Backup: "user/anne", Number: n, Prev: prev, Time: now, Host: "b1", Clock: now}, pack.Options{})
		var e Event = &SubEvent{User: "anne", Name: fmt.Sprint(n), Subscribed: true}
		if n == retained {
			e = &RetainedEvent{From: 1, To: first - 1}
		}
		if err := b.Event(e); err != nil {
			t.Fatal(err)
		}
		object, hash, err := b.Finish(nil)
		if err != nil {
			t.Fatal(err)
		}
		prev = fmt.Sprintf("%x", hash)
		if _, err := s.Put(t.Context(), LogKey("user/anne", n), strings.NewReader(string(object)), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
