package partitions

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Trouble describes a backup or a partition that cannot be used while the others can.
type Trouble struct {
	Partition string // its name; "" for a backup
	Backup    string // its path; "" for a partition
	Kind      string // damage, version, foreign, moved, denied, no-bucket, no-answer, …
	Since     time.Time
	Err       error // the latest error
}

// troubles logs each trouble when it begins and when it ends, however many commands meet it in
// between.
type troubles struct {
	log   *slog.Logger
	now   func() time.Time
	count atomic.Int64 // of states; shows without a lock that there are none

	mu     sync.Mutex
	states map[troubleKey]*troubleState
}

// troubleKey identifies a trouble. Only a success in the same class of work ends it, because
// permission to read does not imply permission to write.
type troubleKey struct {
	scope troubleScope
	kind  troubleKind
	class string
}

// troubleScope is either a backup or a partition.
type troubleScope struct{ partition, backup string }

type troubleState struct {
	since, seen time.Time
	err         error
}

const (
	// troublesMost limits the troubles in memory. Further troubles are logged each time.
	troublesMost = 10000
	// troubleQuiet is how long a trouble must be absent before a success ends it. A failure
	// that affects only some keys must not fill the log.
	troubleQuiet = 30 * time.Second
)

func newTroubles(log *slog.Logger, now func() time.Time) *troubles {
	return &troubles{log: log, now: now, states: map[troubleKey]*troubleState{}}
}

// met records that a command has met a trouble, and logs the first time.
func (t *troubles) met(k troubleKey, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if s := t.states[k]; s != nil {
		s.seen, s.err = now, err
		t.log.Debug("still unavailable", append(k.attrs(), "err", err)...)
		return
	}
	if len(t.states) < troublesMost {
		t.states[k] = &troubleState{since: now, seen: now, err: err}
		t.count.Store(int64(len(t.states)))
	}
	t.log.Log(context.Background(), k.kind.level(), k.scope.what()+" is unavailable: clients are deferred; others are served",
		append(k.attrs(), "err", err, "action", k.kind.advice(k.scope))...)
}

// worked records a success in a partition, which ends the troubles of that class there.
func (t *troubles) worked(partition, class string) {
	t.ended(troubleScope{partition: partition}, class)
}

// ended ends the troubles of a scope in these classes, unless they occurred a moment ago.
func (t *troubles) ended(scope troubleScope, classes ...string) {
	if t.count.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for k, s := range t.states {
		for _, class := range classes {
			if k.scope == scope && k.class == class && now.Sub(s.seen) >= k.kind.quiet() {
				delete(t.states, k)
				t.log.Warn(scope.what()+" can be used again", append(k.attrs(), "after", now.Sub(s.since).Round(time.Second).String())...)
			}
		}
	}
	t.count.Store(int64(len(t.states)))
}

func (s troubleScope) what() string {
	if s.backup != "" {
		return "a backup"
	}
	return "a partition"
}

func (k troubleKey) attrs() []any {
	if k.scope.backup != "" {
		return []any{"backup", k.scope.backup, "kind", string(k.kind)}
	}
	return []any{"partition", k.scope.partition, "kind", string(k.kind)}
}

// Troubles returns the backups and partitions that cannot be used at present, oldest first.
func (s *Set) Troubles() []Trouble {
	t := s.troubles
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Trouble, 0, len(t.states))
	for k, st := range t.states {
		out = append(out, Trouble{Partition: k.scope.partition, Backup: k.scope.backup, Kind: string(k.kind), Since: st.since, Err: st.err})
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if !a.Since.Equal(b.Since) {
			return a.Since.Before(b.Since)
		}
		return fmt.Sprint(a.Partition, a.Backup, a.Kind) < fmt.Sprint(b.Partition, b.Backup, b.Kind)
	})
	return out
}
