// Package probe finds out the capabilities of a store by trying them and reading back. This
// is necessary because some stores answer 200 to a condition and ignore it (StorageGRID,
// older Ceph).
package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Dir is the directory of the probe's objects, below the prefix of the store. It must
// contain nothing else: leftovers of interrupted probes are removed after a day.
const Dir = "probe"

const (
	cleanupTime = time.Minute
	leftoverAge = 24 * time.Hour
)

// Capabilities are the results. repository.json contains their JSON form.
type Capabilities struct {
	// IfAbsent: a put with IfAbsent is refused if the key is taken, and the existing bytes
	// stay. False: a repository needs a single writer.
	IfAbsent bool `json:"if_absent"`
	// IfAbsentRace: of concurrent writers exactly one wins, and its bytes are stored.
	IfAbsentRace bool `json:"if_absent_race"`
	IfMatch      bool `json:"if_match"`   // a stale ETag is refused, the bytes stay
	Range        bool `json:"range"`      // the middle of an object can be read
	Suffix       bool `json:"suffix"`     // the end of an object can be read without its size
	ListOrder    bool `json:"list_order"` // keys are in byte order, and only those after startAfter
	StoreTime    bool `json:"store_time"` // answers state the store's clock, and it advances
	// ClockSkew is the store's clock minus this host's, to about a second; zero without StoreTime.
	ClockSkew time.Duration `json:"clock_skew"`
	// Notes describe the observations for missing capabilities.
	Notes []string `json:"notes,omitempty"`
}

// Conditional reports whether two writers cannot overwrite each other.
func (c Capabilities) Conditional() bool { return c.IfAbsent && c.IfAbsentRace }

// A single request that a load balancer sends twice must not decide the result.
const (
	misses = 3 // a capability counts as missing after this many misses
	inARow = 2 // after a miss, a capability must be found this many times in a row
)

// Run tries the store with a few dozen small requests. It removes its objects, even after
// an error or if ctx has ended. now is the host's clock. An error means that plain put,
// get, list or delete does not work, and names the step. Missing capabilities are reported
// in Capabilities; each was missing in several rounds, with fresh keys in each round.
func Run(ctx context.Context, s objstore.Store, now func() time.Time) (c Capabilities, err error) {
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return c, err
	}
	p := &prober{s: s, at: Dir + "/" + hex.EncodeToString(id) + "-", now: now, c: &c}
	defer func() { err = errors.Join(err, p.cleanup(ctx)) }()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
		have func() bool // nil: the first result counts
	}{
		{"read back what was written", p.roundTrip, nil},
		{"read a part", p.ranges, func() bool { return c.Range && c.Suffix }},
		{"create only if absent", p.ifAbsent, func() bool { return c.IfAbsent }},
		{"create from several writers at once", p.race, nil},
		{"replace only if unchanged", p.ifMatch, func() bool { return c.IfMatch }},
		{"list", p.list, func() bool { return c.ListOrder }},
	} {
		if err := p.inRounds(ctx, step.run, step.have); err != nil {
			return c, fmt.Errorf("probe: %s: %w", step.name, err)
		}
	}
	return c, nil
}

// inRounds runs a step until it finds the capability: at once, or a few times in a row
// after a miss. In that case the notes of the miss are dropped.
func (p *prober) inRounds(ctx context.Context, step func(context.Context) error, have func() bool) error {
	notes, row, need, missed := len(p.c.Notes), 0, 1, 0
	for p.round = 0; ; p.round++ {
		p.c.Notes = p.c.Notes[:notes]
		if err := step(ctx); err != nil || have == nil {
			return err
		}
		if have() {
			row++
		} else {
			row, need, missed = 0, inARow, missed+1
		}
		if row == need || missed == misses {
			return nil
		}
	}
}

type prober struct {
	s    objstore.Store
	at   string // prefix of every key of this run
	now  func() time.Time
	c    *Capabilities
	keys []string // keys to remove

	round int    // of the current step
	fixed string // the only key; "" = keys of this run
}

// key names an object of this run and round, which cleanup will remove.
func (p *prober) key(name string) string {
	if p.fixed != "" {
		return p.fixed
	}
	key := p.at + p.roundName() + name
	p.keys = append(p.keys, key)
	return key
}

// roundName gives the keys of each round a different name.
func (p *prober) roundName() string {
	if p.round == 0 {
		return ""
	}
	return fmt.Sprintf("again%d-", p.round)
}

func (p *prober) note(format string, args ...any) {
	p.c.Notes = append(p.c.Notes, fmt.Sprintf(format, args...))
}

func (p *prober) put(ctx context.Context, key, text string, opt objstore.PutOptions) (objstore.Info, error) {
	return p.s.Put(ctx, key, bytes.NewReader([]byte(text)), opt)
}

func (p *prober) get(ctx context.Context, key string, off, n int64) (string, objstore.Info, error) {
	obj, err := p.s.Get(ctx, key, off, n)
	if err != nil {
		return "", objstore.Info{}, err
	}
	text, err := io.ReadAll(io.LimitReader(obj, 1<<20))
	return string(text), obj.Info, errors.Join(err, obj.Close())
}

// expect reads the whole object and compares it.
func (p *prober) expect(ctx context.Context, key, want string) (same bool, err error) {
	got, _, err := p.get(ctx, key, 0, -1)
	return got == want, err
}

// roundTrip checks the basic operations. It also compares the clocks.
func (p *prober) roundTrip(ctx context.Context) error {
	key := p.key("plain")
	if _, _, err := p.get(ctx, key, 0, -1); !errors.Is(err, objstore.ErrNotExist) {
		return fmt.Errorf("an object that was never written: %w", orNil(err))
	}
	before := p.now()
	info, err := p.put(ctx, key, alphabet, objstore.PutOptions{})
	if err != nil {
		return err
	}
	p.time(before, p.now(), info.StoreTime)
	switch same, err := p.expect(ctx, key, alphabet); {
	case err != nil:
		return err
	case !same:
		return errors.New("the bytes read differ from those written")
	}
	stat, err := p.s.Stat(ctx, key)
	if err != nil {
		return err
	}
	if stat.Size != int64(len(alphabet)) {
		return fmt.Errorf("stat returned size %d, want %d", stat.Size, len(alphabet))
	}
	if err := p.s.Delete(ctx, key); err != nil {
		return err
	}
	if _, err := p.s.Stat(ctx, key); !errors.Is(err, objstore.ErrNotExist) {
		return fmt.Errorf("an object that was deleted: %w", orNil(err))
	}
	return nil
}

var errNoError = errors.New("is there")

func orNil(err error) error {
	if err == nil {
		return errNoError
	}
	return err
}

const alphabet = "abcdefghijklmnopqrstuvwxyz"

// time compares the clocks. HTTP dates are whole seconds, so a store's time counts as the
// middle of its second.
func (p *prober) time(before, after, store time.Time) {
	if store.IsZero() {
		p.note("the store states no time")
		return
	}
	p.c.StoreTime = true
	if store.Nanosecond() == 0 {
		store = store.Add(500 * time.Millisecond)
	}
	p.c.ClockSkew = store.Sub(before.Add(after.Sub(before) / 2)).Round(time.Millisecond)
}

func (p *prober) ranges(ctx context.Context) error {
	key := p.key("range")
	if _, err := p.put(ctx, key, alphabet, objstore.PutOptions{}); err != nil {
		return err
	}
	part, info, err := p.get(ctx, key, 3, 4)
	if objstore.IsTemporary(err) {
		return err // a failure allows no conclusion about the store
	}
	p.c.Range = err == nil && part == "defg" && info.Size == int64(len(alphabet))
	if !p.c.Range {
		p.note("range: requested 4 bytes from 3, got %d bytes of %q (%v)", len(part), part, err)
	}
	end, _, err := p.get(ctx, key, -5, 0)
	if objstore.IsTemporary(err) {
		return err
	}
	p.c.Suffix = err == nil && end == "vwxyz"
	if !p.c.Suffix {
		p.note("suffix: requested the last 5 bytes, got %d (%v)", len(end), err)
	}
	_, _, err = p.get(ctx, key, 100, 1)
	if objstore.IsTemporary(err) {
		return err
	}
	if !errors.Is(err, objstore.ErrRange) {
		p.c.Range = false
		p.note("range: an offset past the end was not refused (%v)", err)
	}
	return ctx.Err()
}

func (p *prober) list(ctx context.Context) error {
	p.c.ListOrder = false
	want := []string{"l-a", "l.b", "l/c", "l0", "l=d", "lé"} // in byte order; a tree walk would put l/ first or last
	for _, i := range []int{4, 1, 5, 0, 3, 2} {
		if _, err := p.put(ctx, p.key(want[i]), "x", objstore.PutOptions{}); err != nil {
			return err
		}
	}
	all, err := p.names(ctx, "l", "")
	if err != nil {
		return err
	}
	if got := strings.Join(all, " "); got != strings.Join(want, " ") {
		p.note("list: got %q, want %q", got, strings.Join(want, " "))
		return nil
	}
	rest, err := p.names(ctx, "l", p.at+p.roundName()+want[2])
	if err != nil {
		return err
	}
	p.c.ListOrder = strings.Join(rest, " ") == strings.Join(want[3:], " ")
	if !p.c.ListOrder {
		p.note("list: got %q after %q", strings.Join(rest, " "), want[2])
	}
	return nil
}

func (p *prober) names(ctx context.Context, prefix, after string) ([]string, error) {
	var names []string
	at := p.at + p.roundName()
	for info, err := range p.s.List(ctx, at+prefix, after) {
		if errors.Is(err, objstore.ErrUnsupported) {
			return append(names, err.Error()), nil // not in order
		}
		if err != nil {
			return nil, err
		}
		names = append(names, strings.TrimPrefix(info.Key, at))
	}
	return names, nil
}

// cleanup removes the objects of this run, and of runs that were interrupted.
func (p *prober) cleanup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	var errs []error
	for _, key := range p.keys {
		errs = append(errs, p.s.Delete(ctx, key))
	}
	for info, err := range p.s.List(ctx, Dir+"/", "") {
		if err != nil {
			break // the run has already reported the problem with lists
		}
		if !info.StoreTime.IsZero() && info.StoreTime.Sub(info.Modified) > leftoverAge {
			errs = append(errs, p.s.Delete(ctx, info.Key))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("probe: clean up: %w", err)
	}
	return nil
}
