package filename_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
)

type example struct {
	Internal []string `json:"internal"`
	Path     []string `json:"path"`
	Maildir  string   `json:"maildir"`
}

func examples(t testing.TB) (out []example) {
	b, err := os.ReadFile("testdata/names.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNames(t *testing.T) {
	for _, e := range examples(t) {
		if got := filename.Path(e.Internal); !slices.Equal(got, e.Path) {
			t.Errorf("%q: path %q, want %q", e.Internal, got, e.Path)
		}
		if got := filename.Maildir(e.Internal); got != e.Maildir {
			t.Errorf("%q: maildir %q, want %q", e.Internal, got, e.Maildir)
		}
	}
}

// Parts of the generated names: escaped characters, lookalikes of escapes, reserved and long
// names.
var parts = []string{"", "a", "A", ".", "^", "%", "%2E", "%_", "%-", "%=", "/", "\\", "&", "&-", "&APw-", "&AGE-", "ü", "\xff", "\x1b[2J", "\n",
	"&IA4-", "INBOX", "Inbox", "sieve", ".mbox", ".eml", "messages", ".ndjson", ".json", "account", "cur", strings.Repeat("x", 90), strings.Repeat("x", 90) + "y",
	strings.Repeat("&ZeVnLIqe-", 20), "&2D3eAA-", "é"}

func random(r *rand.Rand) []string {
	out := make([]string, 1+r.IntN(3))
	for i := range out {
		for range r.IntN(4) {
			out[i] += parts[r.IntN(len(parts))]
		}
		out[i] = strings.ReplaceAll(out[i], ".", "^") // Cyrus has no dot within a component
	}
	return out
}

// No two mailboxes share a name, and no name leaves its directory or clashes with our files.
func TestInjective(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	paths, maildirs := map[string]string{}, map[string]string{}
	for range 30_000 {
		internal := random(r)
		was := strings.Join(internal, ".")
		path, maildir := filename.Path(internal), filename.Maildir(internal)
		for _, c := range append(slices.Clone(path), maildir) {
			safe(t, internal, c)
		}
		for _, c := range path {
			ours(t, internal, c)
		}
		collide(t, paths, strings.Join(path, "/"), was)
		collide(t, maildirs, maildir, was)
	}
}

func collide(t *testing.T, seen map[string]string, name, was string) {
	t.Helper()
	if other, ok := seen[name]; ok && other != was {
		t.Fatalf("%q is the name of %q and %q", name, other, was)
	}
	seen[name] = was
}

func safe(t *testing.T, internal []string, c string) {
	t.Helper()
	if c == "" || c == "." || c == ".." || len(c) > 250 || strings.ContainsAny(c, "/\\\x00\x1b\n") || !filepath.IsLocal(c) {
		t.Fatalf("%q: component %q", internal, c)
	}
}

func ours(t *testing.T, internal []string, c string) {
	t.Helper()
	low := strings.ToLower(c)
	for _, suffix := range []string{".mbox", ".eml", ".ndjson", ".json", ".partial"} {
		if strings.HasSuffix(low, suffix) {
			t.Fatalf("%q: component %q has a suffix of our own files", internal, c)
		}
	}
	if low == "sieve" || strings.HasPrefix(c, ".") || low == "inbox" && len(internal) == 1 {
		t.Fatalf("%q: component %q is a name of our own files", internal, c)
	}
}

func FuzzPath(f *testing.F) {
	for _, e := range examples(f) {
		f.Add(strings.Join(e.Internal, "."))
	}
	f.Fuzz(func(t *testing.T, name string) {
		defer fuzztest.Limit(t, 256<<10+1<<10*int64(len(name)))()
		internal := strings.Split(name, ".")
		for _, c := range append(filename.Path(internal), filename.Maildir(internal)) {
			safe(t, internal, c)
		}
	})
}
