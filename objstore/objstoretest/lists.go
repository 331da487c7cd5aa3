package objstoretest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

func sortBytes(keys []string) { slices.Sort(keys) }

func testListOrder(t *testing.T, s objstore.Store) {
	// '-' and '.' sort before '/', '0' after it: a walk by names would order them wrongly.
	want := []string{"a", "d-x", "d.x/1", "d/1", "d/1-", "d/2/x", "d/2/y", "d0", "d=x", "e/1"}
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(want)) {
		put(t, s, want[i], want[i])
	}
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", want},
		{"d", "", want[1:9]},
		{"d/", "", want[3:7]},
		{"d/2", "", want[5:7]},
		{"d/2/x", "", want[5:6]},
		{"d/3", "", nil},
		{"nothing/here", "", nil},
		{"", "d.x/1", want[3:]},
		{"", "d.x/0", want[2:]},
		{"", "d/", want[3:]},
		{"", "d/1x", want[5:]},
		{"", "zzz", nil},
		{"d/", "d/1", want[4:7]},
		{"d/", "d/2/y", nil},
		{"d/", "a", want[3:7]},  // before the prefix: all of it
		{"d/", "e", nil},        // after the prefix: nothing
		{"d/", "d", want[3:7]},  // a prefix of the prefix
		{"e", "e/1", nil},       // the last key
		{"", "d/2/x", want[6:]}, // in the middle of a directory
		{"d/2", "d/1", want[5:7]},
	} {
		infos := list(t, s, c.prefix, c.after)
		if got := keysOf(infos); !slices.Equal(got, c.want) {
			t.Errorf("list %q after %q: %q, want %q", c.prefix, c.after, got, c.want)
		}
		for _, info := range infos {
			if info.Size != int64(len(info.Key)) || info.Modified.IsZero() {
				t.Errorf("list: %+v", info)
			}
		}
	}
	for info, err := range s.List(t.Context(), "", "") { // stop after the first
		if err != nil || info.Key != "a" {
			t.Errorf("list: %+v, %v", info, err)
		}
		break
	}
}

// testListMany needs three pages of a thousand.
func testListMany(t *testing.T, s objstore.Store) {
	const n = 2500
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("many/%c/%05d", 'a'+i%3, i*7919%n))
	}
	next := make(chan string)
	go func() {
		defer close(next)
		for _, key := range want {
			next <- key
		}
	}()
	together(8, func(int) {
		for key := range next {
			if _, err := putIf(t, s, key, "x", objstore.PutOptions{}); err != nil {
				t.Errorf("put: %v", err)
			}
		}
	})
	put(t, s, "other", "x")
	sortBytes(want)
	if got := keysOf(list(t, s, "many/", "")); !slices.Equal(got, want) {
		t.Errorf("list: %d keys, want %d, or another order", len(got), n)
	}
	for _, i := range []int{0, 1, 833, 834, 999, 1000, 1001, 1700, n - 2, n - 1} {
		if got := keysOf(list(t, s, "many/", want[i])); !slices.Equal(got, want[i+1:]) {
			t.Errorf("list after %s: %d keys, want %d, or another order", want[i], len(got), n-i-1)
		}
	}
}

// testListWhileUsing: the consumer of a list may use the store.
func testListWhileUsing(t *testing.T, s objstore.Store) {
	for i := range 20 {
		put(t, s, fmt.Sprintf("u/%02d", i), "x")
	}
	n := 0
	for info, err := range s.List(t.Context(), "u/", "") {
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		wantText(t, s, info.Key, "x")
		if err := s.Delete(t.Context(), info.Key); err != nil {
			t.Fatalf("delete: %v", err)
		}
		n++
	}
	if left := list(t, s, "u/", ""); n != 20 || len(left) != 0 {
		t.Errorf("%d listed, %d left", n, len(left))
	}
}
