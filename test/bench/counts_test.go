package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write "+countsFile)

const countsFile = "testdata/counts.txt"

// counts are costs that do not depend on the machine's speed, by name.
type counts map[string]float64

// TestCounts fails when allocations, requests or bytes have grown. `make bench-counts` writes the
// table; commit a higher figure only with its reason.
func TestCounts(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("the race detector allocates, too")
	}
	got := counts{}
	for _, measure := range []func(*testing.T, counts){countIngest, countRecords, countLookups, countOpening, countIndex} {
		measure(t, got)
	}
	if *update {
		if err := os.WriteFile(countsFile, got.table(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(countsFile)
	if err != nil {
		t.Fatal(err)
	}
	want, err := readCounts(b)
	if err != nil {
		t.Fatal(err)
	}
	got.compare(want, t.Errorf, t.Logf)
}

// compare reports what has grown, or is not in the table.
func (c counts) compare(want counts, errorf, logf func(string, ...any)) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		now, was := c[name], want[name]
		slack := slackOf(name, was)
		switch _, known := want[name]; {
		case !known:
			errorf("%s: %.4g is not in %s (make bench-counts)", name, now, countsFile)
		case now > was+slack:
			errorf("%s: %.4g, was %.4g", name, now, was)
		case now < was-slack:
			logf("%s: %.4g, was %.4g: make bench-counts writes the better figure", name, now, was)
		}
	}
}

// slackOf returns how much a count may differ. Allocations of the goroutines of Badger and of the
// clients of stores vary with their timing, and so does the size of an index.
func slackOf(name string, was float64) float64 {
	if strings.HasPrefix(name, "requests") {
		return 0.5 + was/50
	}
	return 0.5 + was/10
}

func (c counts) table() []byte {
	var b bytes.Buffer
	b.WriteString("# TestCounts compares with these figures. make bench-counts writes them.\n")
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "%s\t%.4g\n", name, c[name])
	}
	return b.Bytes()
}

func readCounts(text []byte) (counts, error) {
	c := counts{}
	s := bufio.NewScanner(bytes.NewReader(text))
	for s.Scan() {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		name, value, ok := strings.Cut(s.Text(), "\t")
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: %q is no name and number", countsFile, s.Text())
		}
		c[name] = v
	}
	return c, s.Err()
}

func TestCountsCompare(t *testing.T) {
	want := counts{"allocations of x": 100, "requests of x": 2, "gone": 1}
	text := want.table()
	read, err := readCounts(text)
	if err != nil || !maps.Equal(read, want) {
		t.Fatalf("%v, %v", read, err)
	}
	var failed, logged []string
	note := func(to *[]string) func(string, ...any) {
		return func(format string, args ...any) { *to = append(*to, fmt.Sprintf(format, args...)) }
	}
	counts{"allocations of x": 109, "requests of x": 3, "new": 5}.compare(want, note(&failed), note(&logged))
	if len(failed) != 2 || !strings.HasPrefix(failed[0], "new: 5 is not in") || failed[1] != "requests of x: 3, was 2" || logged != nil {
		t.Errorf("%q %q", failed, logged)
	}
	failed = nil
	counts{"allocations of x": 30}.compare(want, note(&failed), note(&logged))
	if failed != nil || len(logged) != 1 {
		t.Errorf("%q %q", failed, logged)
	}
	if _, err := readCounts([]byte("no number\n")); err == nil {
		t.Error("a bad line is accepted")
	}
}
