package traces_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

// trace is the list of effects in their order. Many goroutines add to it.
type trace struct {
	mu    sync.Mutex
	on    bool
	lines []string
	names map[string]string // by hash
	count map[string]int    // of names of a kind
	more  chan struct{}     // closed when there is one more line
}

func newTrace() *trace {
	return &trace{names: map[string]string{}, count: map[string]int{}, more: make(chan struct{})}
}

// probed replaces the many objects of a probe of the store.
const probed = "    probe  …"

// begin starts the list. Earlier effects are left out.
func (tr *trace) begin() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.on = true
}

func (tr *trace) add(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	line := tr.stable(fmt.Sprintf(format, args...))
	if !tr.on || line == probed && slices.Contains(tr.lines, line) {
		return
	}
	tr.lines = append(tr.lines, line)
	close(tr.more)
	tr.more = make(chan struct{})
}

// name gives a hash a readable name.
func (tr *trace) name(hash, name string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.names[hash] = name
}

var (
	hashedKey = regexp.MustCompile(`(packs/[0-9a-f]{2}|records)/([0-9a-f]{64})\.tar\.zst`)
	numbered  = regexp.MustCompile(`0*([0-9]+)\.tar\.zst`)
	hash      = regexp.MustCompile(`[0-9a-f]{40}`)
)

// stable replaces hashes and random names, which differ from run to run. Packs are counted
// before the list begins, too: pack-2 is always the second pack in the bucket.
func (tr *trace) stable(line string) string {
	line = hashedKey.ReplaceAllStringFunc(line, func(key string) string {
		if strings.HasPrefix(key, "packs/") {
			return "packs/" + tr.named("pack", key)
		}
		return "records/" + tr.named("blocks", key)
	})
	line = numbered.ReplaceAllString(line, "$1")
	return hash.ReplaceAllStringFunc(line, func(h string) string {
		if name := tr.names[h]; name != "" {
			return name
		}
		return h
	})
}

func (tr *trace) named(kind, key string) string {
	if tr.names[key] == "" {
		tr.count[kind]++
		tr.names[key] = fmt.Sprint(kind, "-", tr.count[kind])
	}
	return tr.names[key]
}

// await waits until background work has added enough lines.
func (tr *trace) await(t *testing.T, enough func(lines []string) bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		tr.mu.Lock()
		found, more := enough(tr.lines), tr.more
		tr.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("no further line after 20 s:\n%s", tr)
		}
	}
}

func (tr *trace) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.lines, "\n") + "\n"
}

// golden compares the trace with testdata/NAME.txt.
func (tr *trace) golden(t *testing.T, name, about string) {
	t.Helper()
	got := "# " + strings.ReplaceAll(strings.TrimSpace(about), "\n", "\n# ") + "\n\n" + tr.String()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the order of effects differs from %s (see the package comment)\n%s", file, difference(string(want), got))
	}
}

// difference prints all lines from the first difference to the last.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var head, tail int
	for head < min(len(w), len(g)) && w[head] == g[head] {
		head++
	}
	for tail < min(len(w), len(g))-head && w[len(w)-1-tail] == g[len(g)-1-tail] {
		tail++
	}
	var b strings.Builder
	for _, part := range []struct {
		mark  string
		lines []string
	}{{"  ", w[max(0, head-3):head]}, {"- ", w[head : len(w)-tail]}, {"+ ", g[head : len(g)-tail]}, {"  ", w[len(w)-tail : min(len(w), len(w)-tail+3)]}} {
		for _, l := range part.lines {
			b.WriteString(part.mark + l + "\n")
		}
	}
	return b.String()
}
