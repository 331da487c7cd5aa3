package faultstore_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(testing.TB) objstore.Store { return faultstore.New(memstore.New(nil)) })
}

func TestVersions(t *testing.T) {
	objstoretest.RunVersioned(t, func(testing.TB) objstore.Store { return faultstore.New(memstore.NewVersioned(nil)) })
}

func put(t *testing.T, s objstore.Store, key, text string, o objstore.PutOptions) error {
	t.Helper()
	_, err := s.Put(t.Context(), key, bytes.NewReader([]byte(text)), o)
	return err
}

func text(t *testing.T, s objstore.Store, key string) string {
	t.Helper()
	o, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		return err.Error()
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var absent = objstore.PutOptions{IfAbsent: true}

func puts(op, _ string) bool { return op == "put" }

// Some calls succeed, some fail, and then calls succeed again.
func TestSkipAndCount(t *testing.T) {
	s := faultstore.New(memstore.New(nil))
	s.Add(faultstore.Fault{Match: puts, Skip: 1, Count: 2, Before: faultstore.Denied})
	for i, want := range []error{nil, objstore.ErrDenied, objstore.ErrDenied, nil} {
		if err := put(t, s, "a", "x", objstore.PutOptions{}); !errors.Is(err, want) {
			t.Errorf("put %d: %v, want %v", i+1, err, want)
		}
	}
	if n := s.Struck(); n != 2 {
		t.Errorf("%d calls were struck, want 2", n)
	}
	s.Add(faultstore.Fault{Before: faultstore.Lost})
	if err := put(t, s, "a", "x", objstore.PutOptions{}); !objstore.IsTemporary(err) {
		t.Errorf("a lost connection: %v, want a temporary error", err)
	}
	s.Clear()
	if err := put(t, s, "a", "x", objstore.PutOptions{}); err != nil {
		t.Errorf("after Clear: %v", err)
	}
}

func TestAnswerIsLost(t *testing.T) {
	s := faultstore.New(memstore.New(nil))
	s.Add(faultstore.Fault{Match: puts, Count: 1, After: faultstore.Lost})
	if err := put(t, s, "a", "x", absent); !errors.Is(err, faultstore.ErrLost) {
		t.Errorf("put: %v, want a lost answer", err)
	}
	if got := text(t, s, "a"); got != "x" {
		t.Errorf("the object is %q: the put should have taken effect", got)
	}
}

// The answer to a put that arrives twice is that of the second: the key is taken.
func TestTwice(t *testing.T) {
	s := faultstore.New(memstore.New(nil))
	s.Add(faultstore.Fault{Match: puts, Count: 1, Twice: true})
	if err := put(t, s, "a", "x", absent); !errors.Is(err, objstore.ErrExist) {
		t.Errorf("put: %v, want ErrExist", err)
	}
	if got := text(t, s, "a"); got != "x" {
		t.Errorf("the object is %q", got)
	}
}

func TestLate(t *testing.T) {
	s := faultstore.New(memstore.New(nil))
	s.Add(faultstore.Fault{Match: puts, Count: 1, Late: true})
	for _, b := range []string{"x", "y"} {
		if err := put(t, s, "a", b, objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := text(t, s, "a"); got != "y" {
		t.Errorf("before the copy arrives the object is %q", got)
	}
	if n := s.Deliver(t.Context()); n != 1 || text(t, s, "a") != "x" {
		t.Errorf("%d copies arrived, and the object is %q", n, text(t, s, "a"))
	}
	if n := s.Deliver(t.Context()); n != 0 {
		t.Errorf("%d copies arrived a second time", n)
	}
}

func TestWrongTimes(t *testing.T) {
	at := time.Unix(1000, 0)
	s := faultstore.New(memstore.New(func() time.Time { return at }))
	s.Add(faultstore.Fault{Shift: time.Hour})
	if err := put(t, s, "a", "x", objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	i, err := s.Stat(t.Context(), "a")
	if want := at.Add(time.Hour); err != nil || !i.StoreTime.Equal(want) || !i.Modified.Equal(want) {
		t.Errorf("stat: %+v, %v, want the time %v", i, err, want)
	}
	_, err = s.Stat(t.Context(), "b")
	if got := objstore.StoreTimeOf(err); !errors.Is(err, objstore.ErrNotExist) || !got.Equal(at.Add(time.Hour)) {
		t.Errorf("stat of nothing: %v at %v", err, got)
	}
}

func TestGarble(t *testing.T) {
	s := faultstore.New(memstore.New(nil))
	if err := put(t, s, "a", "hello", objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Add(faultstore.Fault{Count: 1, Garble: func(off int64, b []byte) []byte { return append(b, 'A'+byte(off)) }})
	o, err := s.Get(t.Context(), "a", -2, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(o)
	if err != nil || string(b) != "loD" {
		t.Errorf("a garbled suffix: %q, %v", b, err)
	}
	if got := text(t, s, "a"); got != "hello" {
		t.Errorf("afterwards the object is %q", got)
	}
}

// A missing bucket looks to HEAD like a missing object.
func TestNoBucket(t *testing.T) {
	s := faultstore.New(memstore.New(nil))
	s.Add(faultstore.Fault{Before: faultstore.NoBucket})
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
	if err := put(t, s, "a", "x", absent); !errors.Is(err, objstore.ErrNoBucket) {
		t.Errorf("put: %v", err)
	}
	for _, err := range s.List(t.Context(), "", "") {
		if !errors.Is(err, objstore.ErrNoBucket) {
			t.Errorf("list: %v", err)
		}
	}
}
