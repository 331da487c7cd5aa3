// Package objstoretest is the conformance suite of objstore.Store. Every driver and every
// decorator passes it.
package objstoretest

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

// Run tests the stores that newStore returns, a new empty store for each subtest.
func Run(t *testing.T, newStore func(t testing.TB) objstore.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, objstore.Store)
	}{
		{"RoundTrip", testRoundTrip},
		{"EmptyObject", testEmpty},
		{"LargeObject", testLarge},
		{"Replace", testReplace},
		{"Absent", testAbsent},
		{"KeyBesideKeys", testKeyBesideKeys},
		{"Ranges", testRanges},
		{"OddKeys", testOddKeys},
		{"RefusedKeys", testRefusedKeys},
		{"ShortBody", testShortBody},
		{"BodyPosition", testBodyPosition},
		{"IfAbsent", testIfAbsent},
		{"IfAbsentRace", testIfAbsentRace},
		{"IfMatch", testIfMatch},
		{"IfMatchRace", testIfMatchRace},
		{"ETagsDiffer", testETagsDiffer},
		{"LostAnswer", testLostAnswer},
		{"ListOrder", testListOrder},
		{"ListMany", testListMany},
		{"ListWhileUsing", testListWhileUsing},
		{"ReadWhileReplacing", testReadWhileReplacing},
		{"Cancelled", testCancelled},
		{"CancelledBody", testCancelledBody},
		{"StoreTime", testStoreTime},
		{"Unversioned", testUnversioned},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newStore(t)) })
	}
}

func put(t testing.TB, s objstore.Store, key, text string) objstore.Info {
	t.Helper()
	info, err := putIf(t, s, key, text, objstore.PutOptions{})
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	return info
}

func putIf(t testing.TB, s objstore.Store, key, text string, opt objstore.PutOptions) (objstore.Info, error) {
	t.Helper()
	return s.Put(t.Context(), key, bytes.NewReader([]byte(text)), opt)
}

func get(t testing.TB, s objstore.Store, key string, off, n int64) (string, objstore.Info, error) {
	t.Helper()
	obj, err := s.Get(t.Context(), key, off, n)
	if err != nil {
		return "", objstore.Info{}, err
	}
	text, err := io.ReadAll(obj)
	return string(text), obj.Info, errors.Join(err, obj.Close())
}

// wantText fails unless the object is exactly text.
func wantText(t testing.TB, s objstore.Store, key, text string) {
	t.Helper()
	got, info, err := get(t, s, key, 0, -1)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	if got != text || info.Size != int64(len(text)) || info.Key != key {
		t.Errorf("get %s: %d bytes, info %+v, want %d bytes", key, len(got), info, len(text))
	}
}

// wantErr fails unless err is an *objstore.Error of the operation that matches want.
func wantErr(t testing.TB, op, key string, err, want error) {
	t.Helper()
	var e *objstore.Error
	switch {
	case !errors.Is(err, want):
		t.Errorf("%s %s: got error %v, want %v", op, key, err, want)
	case !errors.As(err, &e):
		t.Errorf("%s %s: %T is not an *objstore.Error", op, key, err)
	case e.Op != op || e.Key != key:
		t.Errorf("error of %s %s names %s %s", op, key, e.Op, e.Key)
	case e.Temporary:
		t.Errorf("%s %s: %v is marked as temporary", op, key, err)
	}
}

func list(t testing.TB, s objstore.Store, prefix, after string) []objstore.Info {
	t.Helper()
	var infos []objstore.Info
	for info, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		infos = append(infos, info)
	}
	return infos
}

func keysOf(infos []objstore.Info) []string {
	keys := make([]string, 0, len(infos))
	for _, info := range infos {
		keys = append(keys, info.Key)
	}
	return keys
}
