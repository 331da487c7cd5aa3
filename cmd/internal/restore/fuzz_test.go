package restore

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// FuzzResume reads the file of a restore of many users, after its first line or instead of it, and continues it.
func FuzzResume(f *testing.F) {
	f.Add([]byte(`{"backup":"user/anne","as_of":"2026-03-01T12:00:00Z","messages":3,"ended":"2026-03-01T12:00:00Z"}`+"\n{\"bac"), true)
	f.Add([]byte(`{"restore_version":1,"to":"x"}`+"\n"), false)
	f.Add([]byte(`{"resto`), false)
	f.Add([]byte("mail\n"), true)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, b []byte, ours bool) {
		name := filepath.Join(t.TempDir(), "resume")
		asked := func() *options { return &options{server: "mail:2005", chosen: new(chosenUsers)} }
		if ours {
			head, err := json.Marshal(&resumed{Version: 1, To: "mail:2005", Users: new(chosenUsers), Moment: now})
			if err != nil {
				t.Fatal(err)
			}
			b = append(append(head, '\n'), b...)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzztest.Within(t, 256<<10+512*int64(len(b)), func() {
			r, err := openResumeFile(name, asked(), now)
			if err != nil {
				if now, _ := os.ReadFile(name); string(now) != string(b) || !strings.Contains(err.Error(), name) {
					t.Fatalf("a file that was refused has changed: %q, %v", now, err)
				}
				return
			}
			if err := r.append([]byte(`{"backup":"user/bob"}`)); err != nil {
				t.Fatal(err)
			}
			if err := r.close(); err != nil {
				t.Fatal(err)
			}
			again, err := openResumeFile(name, asked(), now.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			defer again.close()
			if !again.has("user/bob", phase{}) || len(again.done) < len(r.done) {
				t.Fatalf("%v became %v", r.done, again.done)
			}
		})
	})
}

// FuzzArguments parses the values of options that have a syntax.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{"user/anne/Work=user/anne/Old", "a=b=c", "500k/s", "10MB", "anne lrs anyone lr", "a b\tlrs\t", "99999999999999999999TB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fuzztest.Within(t, 64<<10+512*int64(len(s)), func() {
			if maps, err := parseMaps([]string{s}); err == nil && (len(maps) != 1 || maps[0].old+"="+maps[0].new != s) {
				t.Errorf("--map %q: %+v", s, maps)
			}
			if acl, err := parseACL(s); err == nil && acl != "" {
				if again, err := parseACL(acl); err != nil || again != acl {
					t.Errorf("-A %q: %q became %q, %v", s, acl, again, err)
				}
			}
			if n, err := parseRate(s); err == nil && n <= 0 && s != "" {
				t.Errorf("--rate %q: %d", s, n)
			}
		})
	})
}
