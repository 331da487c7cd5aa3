package replication_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestTranscripts replays the client's side of captured connections against the server. All
// connections of a scenario use the same store.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*/*.c2s")
	if err != nil || len(files) == 0 {
		t.Fatalf("transcripts: %v, %d found", err, len(files))
	}
	slices.SortFunc(files, chronologically)
	stores := make(map[string]*replicationtest.Store)
	for _, file := range files {
		scenario := scenarioOf(file)
		if stores[scenario] == nil {
			stores[scenario] = replicationtest.NewStore()
		}
		store := stores[scenario]
		t.Run(strings.TrimPrefix(file, "testdata/transcripts/"), func(t *testing.T) {
			replay(t, store, file)
		})
	}
	for scenario, store := range stores {
		if strings.HasSuffix(scenario, "/p") {
			continue // the source was reset to an older state: checksums must differ
		}
		for _, fault := range store.Faults() {
			t.Errorf("%s: %s", scenario, fault)
		}
	}
}

// scenarioOf names the store that a transcript was recorded against. Transcripts of newer
// clients continue from one to the next; the others start fresh with each letter.
func scenarioOf(file string) string {
	if dir := filepath.Dir(file); strings.HasPrefix(filepath.Base(dir), "3.1") {
		return dir
	}
	return filepath.Dir(file) + "/" + filepath.Base(file)[:1]
}

// chronologically orders d2 before d11, and a first connection before the second.
func chronologically(a, b string) int {
	key := func(file string) string {
		name := strings.TrimSuffix(filepath.Base(file), ".c2s")
		step, rest, _ := strings.Cut(name, "-")
		return fmt.Sprintf("%s/%c%4s-%s", filepath.Dir(file), step[0], step[1:], rest)
	}
	return strings.Compare(key(a), key(b))
}

func replay(t *testing.T, store *replicationtest.Store, file string) {
	said, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	commands, err := replicationtest.Commands(said)
	if err != nil {
		t.Fatal(err)
	}
	b := dial(t, newServer(t, store, nil), replication.ConnOptions{})
	if r, err := b.Login("repl", "secret"); err != nil || !r.OK() {
		t.Fatalf("login: %v %v", r, err)
	}
	var golden strings.Builder
	for _, cmd := range commands {
		r, err := b.Send(cmd)
		if err != nil {
			t.Fatalf("%.100q: %v", cmd, err)
		}
		if !r.OK() && !bytes.HasPrefix(cmd, []byte("C01 ")) {
			t.Errorf("%.300q\n%s", cmd, r)
		}
		golden.WriteString("C: " + firstLine(cmd) + "\n" + r.String())
	}
	compareGolden(t, file, golden.String())
}

// firstLine is the part of a command that is repeated in a golden file.
func firstLine(cmd []byte) string {
	line, _, _ := strings.Cut(string(cmd), "\r\n")
	if len(line) > 120 {
		line = line[:120] + "..."
	}
	return line
}

// compareGolden compares with the golden file beside the transcript, if there is one.
func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	path := strings.TrimSuffix(file, ".c2s") + ".golden"
	want, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(want) != got {
		t.Errorf("answers differ from %s; got:\n%s", path, got)
	}
}
