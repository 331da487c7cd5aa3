package objstoretest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

const (
	writers    = 16
	raceKeys   = 30
	increments = 5 // for each writer
)

func testIfAbsent(t *testing.T, s objstore.Store) {
	opt := objstore.PutOptions{IfAbsent: true}
	if _, err := putIf(t, s, "k/x", "first", opt); err != nil {
		t.Fatalf("put: %v", err)
	}
	for _, text := range []string{"second", "first", ""} {
		_, err := putIf(t, s, "k/x", text, opt)
		wantErr(t, "put", "k/x", err, objstore.ErrExist)
		wantText(t, s, "k/x", "first")
	}
	if err := s.Delete(t.Context(), "k/x"); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if _, err := putIf(t, s, "k/x", "third", opt); err != nil {
		t.Errorf("put after delete: %v", err)
	}
	wantText(t, s, "k/x", "third")
}

// testIfAbsentRace: of many concurrent writers exactly one succeeds, and its bytes are
// stored. (The losers get ErrExist or an unclear answer; a 409 is unclear.)
func testIfAbsentRace(t *testing.T, s objstore.Store) {
	for k := range raceKeys {
		key := fmt.Sprintf("race/%d/key", k)
		errs := make([]error, writers)
		texts := make([]string, writers)
		together(writers, func(i int) {
			texts[i] = strings.Repeat(fmt.Sprintf("writer %d of %s. ", i, key), i+1)
			_, errs[i] = putIf(t, s, key, texts[i], objstore.PutOptions{IfAbsent: true})
		})
		var won []int
		for i, err := range errs {
			switch {
			case err == nil:
				won = append(won, i)
			case !errors.Is(err, objstore.ErrExist) && !objstore.IsTemporary(err):
				t.Errorf("put: %v", err)
			}
		}
		if len(won) != 1 {
			t.Fatalf("%s: winners %v, want exactly one; errors %v", key, won, errs)
		}
		wantText(t, s, key, texts[won[0]])
	}
}

func testIfMatch(t *testing.T, s objstore.Store) {
	_, err := putIf(t, s, "m", "x", objstore.PutOptions{IfMatch: "0123456789abcdef0123456789abcdef"})
	wantErr(t, "put", "m", err, objstore.ErrPrecondition)
	one := put(t, s, "m", "one")
	two, err := putIf(t, s, "m", "two", objstore.PutOptions{IfMatch: one.ETag})
	if err != nil {
		t.Fatalf("put over the present object: %v", err)
	}
	_, err = putIf(t, s, "m", "three", objstore.PutOptions{IfMatch: one.ETag})
	wantErr(t, "put", "m", err, objstore.ErrPrecondition)
	wantText(t, s, "m", "two")
	for _, info := range list(t, s, "m", "") {
		if info.ETag != "" && info.ETag != two.ETag {
			t.Errorf("list gives ETag %s, put gave %s", info.ETag, two.ETag)
		}
	}
	if err := s.Delete(t.Context(), "m"); err != nil {
		t.Fatalf("delete: %v", err)
	}
	_, err = putIf(t, s, "m", "four", objstore.PutOptions{IfMatch: two.ETag})
	wantErr(t, "put", "m", err, objstore.ErrPrecondition)
	_, err = s.Stat(t.Context(), "m")
	wantErr(t, "stat", "m", err, objstore.ErrNotExist)
}

// testIfMatchRace: concurrent increments of a number by read, add and put lose nothing.
func testIfMatchRace(t *testing.T, s objstore.Store) {
	put(t, s, "counter", "1000") // the same length throughout
	together(writers, func(i int) {
		for range increments {
			for {
				text, info, err := get(t, s, "counter", 0, -1)
				if err != nil {
					t.Errorf("get: %v", err)
					return
				}
				n, err := strconv.Atoi(text)
				if err != nil {
					t.Errorf("half an object: %q", text)
					return
				}
				_, err = putIf(t, s, "counter", strconv.Itoa(n+1), objstore.PutOptions{IfMatch: info.ETag})
				if err == nil {
					break
				}
				if !errors.Is(err, objstore.ErrPrecondition) {
					// A 409 means that another write was in progress; this one is known not
					// to have happened.
					if !objstore.IsTemporary(err) {
						t.Errorf("put: %v", err)
						return
					}
				}
			}
		}
	})
	wantText(t, s, "counter", strconv.Itoa(1000+writers*increments))
}

// testETagsDiffer: versions of an object that differ only in content have different ETags,
// however quickly they follow each other.
func testETagsDiffer(t *testing.T, s objstore.Store) {
	seen := make(map[string]string)
	for i := range 100 {
		text := fmt.Sprintf("version %02d", i)
		info := put(t, s, "e", text)
		if other, ok := seen[info.ETag]; ok {
			t.Fatalf("%q and %q have the same ETag %s", other, text, info.ETag)
		}
		seen[info.ETag] = text
	}
}

// together runs n goroutines that start at the same moment.
func together(n int, fn func(i int)) {
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}
