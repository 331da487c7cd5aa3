package repository

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/objstore"
)

// FuzzKnown reads the facts of an earlier run: the JSON after a correct checksum, which no fuzzer finds, and the input as the whole file.
func FuzzKnown(f *testing.F) {
	b, err := json.Marshal(knownBackup{Path: "user/anne", Info: BackupInfo{Version: Version, Name: "anne", Kind: KindUser, Created: noon, ID: NewID()},
		Version: versionOf(objstore.Info{Key: BackupInfoKey("user/anne"), ETag: "e", Size: 7, Modified: noon}), Made: noon, Free: "f"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(knownMagic + "\n" + checksum(b) + " " + string(b) + "\nrest"))
	p := Config{Name: "default", Location: "memory"}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		k, err := OpenKnown(dir, p)
		if err != nil {
			t.Fatal(err)
		}
		name := k.name
		if err := k.Keep(); err != nil {
			t.Fatal(err)
		}
		for _, file := range [][]byte{b, []byte(knownMagic + "\n" + checksum(b) + " " + string(b) + "\n")} {
			if err := os.WriteFile(name, file, 0o600); err != nil {
				t.Fatal(err)
			}
			fuzztest.Within(t, 256<<10+fuzzPerByte*int64(len(b)), func() { tryKnown(t, dir, p) })
		}
		if left, err := filepath.Glob(dir + "/*"); err != nil || len(left) != 1 {
			t.Fatalf("files are left: %q, %v", left, err)
		}
	})
}

// tryKnown reads the facts up to the end, and keeps a part of a run.
func tryKnown(t *testing.T, dir string, p Config) {
	t.Helper()
	k, err := OpenKnown(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"server/annotations", "user/anne", "user/zoe"} {
		l := &listing{path: path, keys: []objstore.Info{{Key: BackupInfoKey(path), ETag: "e", Size: 7, Modified: noon.Add(time.Second / 2)}}}
		if b := k.find(l); b.Path != "" && (b.Path != path || b.Version.ETag != "e") {
			t.Errorf("facts about %q count for %q", b.Path, path)
		}
	}
	k.last = "user/anne"
	if err := k.KeepPart(); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}
