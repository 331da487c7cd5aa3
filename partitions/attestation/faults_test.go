package attestation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// faulty are the ways how the nth call to a store fails.
func faulty(n int) map[string]faultstore.Fault {
	return map[string]faultstore.Fault{
		"refused": {Skip: n, Count: 1, Before: faultstore.Denied},
		"lost":    {Skip: n, Count: 1, Before: faultstore.Lost},
		"answer lost": {Skip: n, Count: 1, After: func(op, key string) error {
			if op == "put" {
				return faultstore.Lost(op, key)
			}
			return nil
		}},
		"twice":         {Skip: n, Count: 1, Twice: true},
		"all that come": {Skip: n, Before: faultstore.Lost},
	}
}

// Whichever call to the bucket or to the copy fails, the next run continues: the lists are one chain, the copy has all of
// them, and nothing is reported as tampering.
func TestEachCallFails(t *testing.T) {
	for _, where := range []string{"bucket", "copy"} {
		for name := range faulty(0) {
			t.Run(where+"/"+name, func(t *testing.T) {
				t.Parallel()
				for n := 0; ; n++ {
					w := newWorld(t, "anne", "bob")
					w.seal()
					w.commit("bob")
					bucket, outside := faultstore.New(w.store), faultstore.New(w.outside)
					at := bucket
					if where == "copy" {
						at = outside
					}
					at.Add(faulty(n)[name])
					var f findings
					o := w.options(&f)
					o.Outside = outside
					r, err := Seal(t.Context(), w.config(bucket), w.key, o)
					if at.Struck() == 0 {
						if n < map[string]int{"bucket": 15, "copy": 4}[where] {
							t.Errorf("only %d calls", n)
						}
						return
					}
					w.afterFault(fmt.Sprintf("call %d", n), r, err, f)
				}
			})
		}
	}
}

// afterFault checks a run with a fault, and that the next ones repair what it has left.
func (w *world) afterFault(when string, r *Result, err error, f findings) {
	w.t.Helper()
	for _, text := range f {
		if !strings.Contains(text, ": unreadable: ") {
			w.t.Errorf("%s: %s", when, text)
		}
	}
	if r == nil && err == nil {
		w.t.Errorf("%s: neither a list nor an error", when)
	}
	w.commit("anne")
	next := w.seal()
	done, f := w.verify()
	if len(f) > 0 || done.Number != next.Number || done.Backups != 2 || done.Lists != int(next.Number) {
		w.t.Errorf("%s: after the next run: %+v, %q", when, done, f)
	}
	if r != nil && r.Number >= next.Number {
		w.t.Errorf("%s: list %d again", when, r.Number)
	}
	if a, b := signatures(w.store), signatures(w.outside); a != b {
		w.t.Errorf("%s: the bucket has %s, the copy %s", when, a, b)
	}
}

func signatures(s *memstore.Store) string {
	var out []string
	for _, key := range s.Keys(Prefix) {
		if strings.HasSuffix(key, signatureSuffix) {
			out = append(out, key+":"+string(s.Bytes(key)))
		}
	}
	return strings.Join(out, "\n")
}

// Two hosts make a list at the same time: one wins, the other reports its list, and the chain is whole.
func TestTwoHosts(t *testing.T) {
	w := newWorld(t, "anne", "bob")
	w.seal()
	s := faultstore.New(w.store)
	var once sync.Once
	var other *Result
	s.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "put" && key == SignatureKey(2) },
		Call: func(string, string) { once.Do(func() { other = w.seal() }) }})
	var f findings
	r, err := Seal(t.Context(), w.config(s), w.key, w.options(&f))
	if err != nil || len(f) > 0 || !r.Other || r.SHA256 != other.SHA256 || r.Number != 2 {
		t.Fatalf("%+v, %v, %q; the other one: %+v", r, err, f, other)
	}
	w.commit("bob")
	w.seal()
	if done, f := w.verify(); len(f) > 0 || done.Number != 3 || done.Lists != 3 {
		t.Errorf("%+v, %q", done, f)
	}
}

// A request of a dead process that arrives late is a genuine list, or changes nothing.
func TestLateSignature(t *testing.T) {
	w := newWorld(t, "anne")
	w.seal()
	s := faultstore.New(w.store)
	s.Add(faultstore.Fault{Match: func(op, key string) bool { return key == SignatureKey(2) }, Kept: true})
	var f findings
	o := w.options(&f)
	o.Outside = nil
	_, _ = Seal(t.Context(), w.config(s), w.key, o)
	w.seal()
	s.Deliver(t.Context())
	w.commit("anne")
	w.seal()
	if done, f := w.verify(); len(f) > 0 || done.Number != 3 {
		t.Errorf("%+v, %q", done, f)
	}
}

// An attacker takes the next numbers, one after the other, and a high one: the lists go on after the former.
func TestTakenNumbers(t *testing.T) {
	w := newWorld(t, "anne")
	w.seal()
	for _, n := range []uint64{2, 3, maxNumber} {
		put(t, w.store, SignatureKey(n), []byte("forged"))
	}
	var f findings
	r, err := Seal(t.Context(), w.config(w.store), w.key, w.options(&f))
	if err != nil || r.Number != 4 || len(f) != 3 {
		t.Fatalf("%+v, %v, %q", r, err, f)
	}
	// A signature that appears just before the put is noticed, too.
	s := faultstore.New(w.store)
	var once sync.Once
	s.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "put" && key == SignatureKey(5) },
		Call: func(string, string) { once.Do(func() { put(t, w.store, SignatureKey(5), []byte("forged")) }) }})
	r, err = Seal(t.Context(), w.config(s), w.key, w.options(&f))
	if err != nil || r.Number != 6 {
		t.Fatalf("%+v, %v, %q", r, err, f)
	}
	for _, n := range []uint64{2, 3, 5, maxNumber} {
		w.store.Lose(SignatureKey(n))
	}
	o := w.options(&f)
	o.Accept = r.Number
	f = nil
	if _, err := Seal(t.Context(), w.config(w.store), w.key, o); err != nil || len(f) > 0 {
		t.Fatal(err, f)
	}
	if done, f := w.verify(); len(f) > 0 || done.Number != 7 {
		t.Errorf("%+v, %q", done, f)
	}
}

// A backup that cannot be read does not stop the list, and keeps the commit of the list before: when it can be read again,
// everything since then is compared.
func TestUnreadableBackup(t *testing.T) {
	w := newWorld(t, "anne", "bob", "carol")
	w.seal()
	before := w.store.Snapshot()
	w.store.Flip("backups/user/bob/log/0000000000000001.tar.zst", 200)
	for range 2 {
		var f findings
		r, err := Seal(t.Context(), w.config(w.store), w.key, w.options(&f))
		if err != nil || r.Unreadable != 1 || r.Backups != 3 || len(f) != 1 || !strings.Contains(f[0], "default:user/bob: unreadable: ") {
			t.Fatalf("%+v, %v, %q", r, err, f)
		}
	}
	w.store.Rollback(before, "backups/", false)
	if _, f := w.verify(); len(f) > 0 {
		t.Errorf("readable again: %q", f)
	}
	w.store.Lose("backups/user/bob/log/0000000000000001.tar.zst")
	if _, f := w.verify(); len(f) != 1 || !strings.Contains(f[0], "default:user/bob: ") {
		t.Errorf("removed: %q", f)
	}
}

// If the partition cannot be listed, there is no list: backups that were not seen would be missing from it.
func TestPartitionCannotBeListed(t *testing.T) {
	w := newWorld(t, "anne", "bob")
	s := faultstore.New(w.store)
	s.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "list" && key == "backups/" }, Before: faultstore.Denied})
	var f findings
	r, err := Seal(t.Context(), w.config(s), w.key, w.options(&f))
	if r != nil || !errors.Is(err, objstore.ErrDenied) || len(w.store.Keys(Prefix)) > 0 {
		t.Errorf("%+v, %v, %q", r, err, w.store.Keys(Prefix))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := Seal(ctx, w.config(w.store), w.key, w.options(&f)); r != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %+v, %v", r, err)
	}
}
