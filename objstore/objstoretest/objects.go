package objstoretest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

func testRoundTrip(t *testing.T, s objstore.Store) {
	info := put(t, s, "a/b/c", "hello")
	if info.Key != "a/b/c" || info.Size != 5 || info.ETag == "" {
		t.Errorf("put: info %+v", info)
	}
	wantText(t, s, "a/b/c", "hello")
	stat, err := s.Stat(t.Context(), "a/b/c")
	if err != nil {
		t.Fatalf("stat: %v", err)
	}
	if stat.Key != "a/b/c" || stat.Size != 5 || stat.ETag != info.ETag || stat.Modified.IsZero() {
		t.Errorf("stat %+v after put %+v", stat, info)
	}
	_, got, err := get(t, s, "a/b/c", 1, 2)
	if err != nil || got.Size != 5 || got.ETag != info.ETag {
		t.Errorf("get of a range: info %+v (%v), want that of the whole object", got, err)
	}
}

func testEmpty(t *testing.T, s objstore.Store) {
	put(t, s, "empty", "")
	wantText(t, s, "empty", "")
	for _, r := range [][2]int64{{0, -1}, {0, 10}, {0, 0}, {-5, 0}} {
		got, info, err := get(t, s, "empty", r[0], r[1])
		if err != nil || got != "" || info.Size != 0 {
			t.Errorf("get %v of an empty object: %q, %+v, %v", r, got, info, err)
		}
	}
	_, _, err := get(t, s, "empty", 1, 1)
	wantErr(t, "get", "empty", err, objstore.ErrRange)
}

func testLarge(t *testing.T, s objstore.Store) {
	data := make([]byte, 12<<20)
	src := rand.NewChaCha8([32]byte{1})
	if _, err := src.Read(data); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "large", bytes.NewReader(data), objstore.PutOptions{IfAbsent: true}); err != nil {
		t.Fatalf("put: %v", err)
	}
	obj, err := s.Get(t.Context(), "large", 0, -1)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, obj)
	if err != nil || n != int64(len(data)) {
		t.Fatalf("read: %d bytes, %v", n, err)
	}
	if err := obj.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if want := sha256.Sum256(data); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("the bytes differ")
	}
	part, _, err := get(t, s, "large", 5<<20-7, 5000)
	if err != nil || part != string(data[5<<20-7:5<<20-7+5000]) {
		t.Errorf("a range in the middle: %d bytes, %v", len(part), err)
	}
	// A body may be closed before it is read to its end.
	obj, err = s.Get(t.Context(), "large", 0, -1)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	if err := obj.Close(); err != nil {
		t.Errorf("close of an unread body: %v", err)
	}
}

func testReplace(t *testing.T, s objstore.Store) {
	put(t, s, "r", "a longer first version")
	put(t, s, "r", "second")
	wantText(t, s, "r", "second")
}

func testAbsent(t *testing.T, s objstore.Store) {
	_, _, err := get(t, s, "none/at/all", 0, -1)
	wantErr(t, "get", "none/at/all", err, objstore.ErrNotExist)
	_, _, err = get(t, s, "none", 5, 0)
	wantErr(t, "get", "none", err, objstore.ErrNotExist)
	_, err = s.Stat(t.Context(), "none")
	wantErr(t, "stat", "none", err, objstore.ErrNotExist)
	if err := s.Delete(t.Context(), "none/at/all"); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
	put(t, s, "gone/x", "x")
	for range 2 {
		if err := s.Delete(t.Context(), "gone/x"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	_, err = s.Stat(t.Context(), "gone/x")
	wantErr(t, "stat", "gone/x", err, objstore.ErrNotExist)
	if infos := list(t, s, "", ""); len(infos) != 0 {
		t.Errorf("list of an empty store: %v", keysOf(infos))
	}
	put(t, s, "gone/x", "again")
	wantText(t, s, "gone/x", "again")
}

func testKeyBesideKeys(t *testing.T, s objstore.Store) {
	put(t, s, "dir/object", "x")
	for _, key := range []string{"dir", "dir/object/below", "di"} {
		_, err := s.Stat(t.Context(), key)
		wantErr(t, "stat", key, err, objstore.ErrNotExist)
		_, _, err = get(t, s, key, 0, -1)
		wantErr(t, "get", key, err, objstore.ErrNotExist)
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %s: %v", key, err)
		}
	}
	wantText(t, s, "dir/object", "x")
}

func testRanges(t *testing.T, s objstore.Store) {
	const text = "0123456789"
	put(t, s, "r", text)
	for _, c := range []struct {
		off, n int64
		want   string
	}{
		{0, -1, text}, {0, 10, text}, {0, 1, "0"}, {0, 0, ""}, {3, 4, "3456"}, {3, -1, "3456789"}, {9, 1, "9"},
		{3, 0, ""}, {9, 100, "9"}, {0, 100, text}, {0, math.MaxInt64, text}, {5, math.MaxInt64, "56789"},
		{-1, -1, "9"}, {-3, 0, "789"}, {-3, 1, "789"}, {-10, 0, text}, {-11, 0, text}, {-1 << 40, 5, text},
		{math.MinInt64, -1, text}, {2, math.MinInt64, "23456789"},
	} {
		got, info, err := get(t, s, "r", c.off, c.n)
		if err != nil || got != c.want || info.Size != 10 {
			t.Errorf("get %d, %d: %q, size %d, %v; want %q", c.off, c.n, got, info.Size, err, c.want)
		}
	}
	for _, c := range [][2]int64{{10, -1}, {10, 0}, {10, 1}, {11, -1}, {1 << 40, 10}, {math.MaxInt64, 1}, {math.MaxInt64, math.MaxInt64}} {
		_, _, err := get(t, s, "r", c[0], c[1])
		wantErr(t, "get", "r", err, objstore.ErrRange)
	}
}

// oddKeys are in byte order.
func oddKeys() []string {
	return []string{
		"odd/ leading and trailing ", "odd/!$&'()*,;:", "odd/%2F%", "odd/+plus+", "odd/.dot", "odd/...", "odd/=20=~x@example.org",
		"odd/UPPER", "odd/[x]{y}|^`", `odd/a"b<c>`, "odd/a#b?c=d&e", "odd/a~b", "odd/users@domain/x.y.z",
		"odd/" + strings.Repeat("v", 255), "odd/ü/Grüße", "odd/日本語", "odd/🙂",
	}
}

func testOddKeys(t *testing.T, s objstore.Store) {
	for _, key := range oddKeys() {
		if _, err := putIf(t, s, key, key, objstore.PutOptions{IfAbsent: true}); err != nil {
			t.Errorf("put: %v", err)
			continue
		}
		wantText(t, s, key, key)
	}
	var got, want []string
	got = keysOf(list(t, s, "odd/", ""))
	want = append(want, oddKeys()...)
	sortBytes(want)
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("list: got  %q\nwant %q", got, want)
	}
	for _, key := range got {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if left := list(t, s, "", ""); len(left) > 0 {
		t.Errorf("left over: %q", keysOf(left))
	}
}

func testRefusedKeys(t *testing.T, s objstore.Store) {
	for _, key := range []string{"", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\x00b", "a\nb", "\xff", strings.Repeat("x", 256), strings.Repeat("x/", 512) + "x"} {
		_, err := putIf(t, s, key, "x", objstore.PutOptions{})
		wantErr(t, "put", key, err, objstore.ErrKey)
		_, _, err = get(t, s, key, 0, -1)
		wantErr(t, "get", key, err, objstore.ErrKey)
		_, err = s.Stat(t.Context(), key)
		wantErr(t, "stat", key, err, objstore.ErrKey)
		wantErr(t, "delete", key, s.Delete(t.Context(), key), objstore.ErrKey)
	}
}

// shortBody ends before its size.
type shortBody struct{ *bytes.Reader }

func (b shortBody) Size() int64 { return b.Reader.Size() + 10 }

func testShortBody(t *testing.T, s objstore.Store) {
	if _, err := s.Put(t.Context(), "short", shortBody{bytes.NewReader([]byte("abc"))}, objstore.PutOptions{IfAbsent: true}); err == nil {
		t.Error("a body shorter than its size was accepted")
	}
	_, err := s.Stat(t.Context(), "short")
	wantErr(t, "stat", "short", err, objstore.ErrNotExist)
	if infos := list(t, s, "", ""); len(infos) != 0 {
		t.Errorf("left over: %v", keysOf(infos))
	}
}

// testBodyPosition: a body is read from its start, whatever its position, and can be put
// again.
func testBodyPosition(t *testing.T, s objstore.Store) {
	body := bytes.NewReader([]byte("0123456789"))
	if _, err := body.Seek(4, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"one", "two"} {
		if _, err := s.Put(t.Context(), key, body, objstore.PutOptions{}); err != nil {
			t.Fatalf("put: %v", err)
		}
		wantText(t, s, key, "0123456789")
	}
}
