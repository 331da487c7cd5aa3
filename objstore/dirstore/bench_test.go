package dirstore

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

func BenchmarkPut(b *testing.B) {
	s := newStore(b)
	data := make([]byte, 10<<10)
	b.SetBytes(int64(len(data)))
	n := 0
	for b.Loop() {
		n++
		if _, err := s.Put(b.Context(), fmt.Sprintf("log/%d", n), bytes.NewReader(data), objstore.PutOptions{IfAbsent: true}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStat(b *testing.B) {
	s := newStore(b)
	mustPut(b, s, "a/b", "x")
	for b.Loop() {
		if _, err := s.Stat(b.Context(), "a/b"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNow(b *testing.B) {
	s := newStore(b)
	c, cancel := newCall(b.Context(), s)
	defer cancel()
	for b.Loop() {
		if s.now(c).IsZero() {
			b.Fatal("no time")
		}
	}
}
