package ctlbackups

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/replication/client/fakeserver"
)

// maskedDrill hides times and rates.
func maskedDrill(s string) string {
	s = regexp.MustCompile(`in [\d.]+ s \(\S+ \S+/s\)`).ReplaceAllString(s, "in N s (N/s)")
	return regexp.MustCompile(`"seconds": [\d.e-]+`).ReplaceAllString(s, `"seconds": N`)
}

func TestDrillGolden(t *testing.T) {
	w := two(t)
	for name, argv := range map[string]string{
		"drill.txt":  "drill",
		"drill.json": "drill -j bob",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tool(t, w, append(strings.Fields(argv), "--scratch", t.TempDir())...)
			if err != nil {
				t.Fatalf("%s: %v\n%s", argv, err, got)
			}
			tooltest.Golden(t, name, maskedDrill(got))
		})
	}
}

// A drill of damaged backups says what is lost, fails, and is recorded; the others are restored.
func TestDrillOfDamage(t *testing.T) {
	w := two(t)
	for key := range w.Keys("backups/user/bob/log/") {
		w.Damage(key)
	}
	out, err := tool(t, w, "drill", "-A", "--scratch", t.TempDir())
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "drill anne@example.org: ok") || !strings.Contains(out, "drill bob: failed") {
		t.Errorf("%v\n%s", err, out)
	}
	r, err := repository.LastRun(t.Context(), w.Parts[0].Store, repository.RunDrill)
	if err != nil || r.Result != repository.RunFailed || r.Backups != 2 || r.Failed != 1 || r.Messages < 9 || r.Bytes == 0 || r.Seconds <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	status, err := tool(t, w, "status")
	if err == nil || !strings.Contains(status, "drill at") {
		t.Errorf("%v\n%s", err, status)
	}
}

// A drill of chosen users is not the last drill of all.
func TestDrillOfSomeIsNotRecorded(t *testing.T) {
	w := two(t)
	if _, err := tool(t, w, "drill", "bob", "--scratch", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if r, err := repository.LastRun(t.Context(), w.Parts[0].Store, repository.RunDrill); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDrillOptions(t *testing.T) {
	w := two(t)
	missing := t.TempDir() + "/missing"
	for _, test := range []struct{ argv, want string }{
		{"drill --users 0", "--users: the number of backups must be at least 1"},
		{"drill --share 5", `"5" is no share`},
		{"drill --share 101%", `"101%" is no share`},
		{"drill --users 1 --share 5%", "only one of --users and --share"},
		{"drill --to srv --scratch /tmp", "only one of --scratch and --to"},
		{"drill --to=", "--to: the server is empty"},
		{"drill --to sync://", "--to sync://: names no server"},
		{"drill --to sync:", "--to sync:: names no server"},
		{"drill --to sync://repl:secret@srv", "--to names a server without a user or a password"},
		{"drill --to eml:/tmp", "neither a server nor a kind of file"},
		{"drill --to srv bob", "restore_authname (or sync_authname) is not set"},
		{"list --to srv", "--to cannot be used with list, only with drill"},
		{"drill -A bob", "-A takes no names"},
		{"list --users 1", "--users cannot be used with list, only with drill"},
		{"drill nobody", "nobody: not found"},
		{"drill bob --scratch " + missing, "create the directory, or name another with --scratch"},
	} {
		out, err := tool(t, w, strings.Fields(test.argv)...)
		if err == nil || !strings.Contains(out+err.Error(), test.want) {
			t.Errorf("%s: %v, %s; want %s", test.argv, err, out, test.want)
		}
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("the scratch directory was made")
	}
}

// Each backup has the same chance to be drawn.
func TestSampling(t *testing.T) {
	all := func(yield func(*repository.Found, error) bool) {
		for i := range 10 {
			if !yield(&repository.Found{Path: fmt.Sprint(i)}, nil) {
				return
			}
		}
		yield(nil, errors.New("left out"))
	}
	const runs = 4000
	count := func(c *command) (drawn map[string]int, total int) {
		drawn = map[string]int{}
		for range runs {
			var paths []string
			failed := 0
			for f, err := range c.sampled(all, func() int { return len(paths) }) {
				if err != nil {
					failed++
					continue
				}
				paths = append(paths, f.Path)
				drawn[f.Path]++
			}
			slices.Sort(paths)
			if len(slices.Compact(paths)) != len(paths) || failed != 1 || len(paths) == 0 {
				t.Fatalf("%v drawn, %d failed", paths, failed)
			}
			total += len(paths)
		}
		return drawn, total
	}
	for name, test := range map[string]struct {
		c    command
		mean float64 // number of backups
	}{
		"users": {command{users: 3}, 3},
		"more":  {command{users: 30}, 10},
		"share": {command{share: 0.5}, 5},
		"least": {command{share: 0.0001}, 1},
		"none":  {command{}, 10},
	} {
		drawn, total := count(&test.c)
		if mean := float64(total) / runs; mean < test.mean*0.95 || mean > test.mean*1.05 {
			t.Errorf("%s: %.2f backups on average", name, mean)
		}
		for path, n := range drawn { // more than eight standard deviations from the mean
			if share := float64(n) / runs; share < test.mean/10*0.6 || share > test.mean/10*1.4 {
				t.Errorf("%s: %s was drawn in a share of %.3f", name, path, share)
			}
		}
	}
}

// What a killed drill has left does not stop the next one.
func TestDrillTwice(t *testing.T) {
	w, dir := two(t), t.TempDir()
	if err := os.Mkdir(dir+"/backup-drill-1", 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(dir+"/backup-drill-1", old, old); err != nil {
		t.Fatal(err)
	}
	if out, err := tool(t, w, "drill", "-A", "--scratch", dir); err != nil {
		t.Fatal(err, out)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Error(left)
	}
}

// intoServer runs a server for drills, and returns its address and the lines of imapd.conf for it.
func intoServer(t *testing.T) (s *fakeserver.Server, addr, conf string) {
	s = &fakeserver.Server{Passwords: map[string]string{"repl": "secret"}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String(), "backup_retention: 1d\nrestore_authname: repl\nrestore_password: secret\n"
}

// A drill into a server is recorded with the server's name. The backup of the scratch user is left out.
func TestDrillIntoServer(t *testing.T) {
	w := two(t)
	m := tooltest.NewMailbox("user.backup-drill")
	m.Deliver(tooltest.Mail("of a drill", "carol@example.org", 300), w.Now)
	w.Sync(m)
	_, addr, conf := intoServer(t)
	out, err := toolWith(t, w, conf, "drill", "--to", "sync://"+addr, "-A")
	if err != nil || strings.Count(out, ": ok: 9 messages in 1 mailbox") != 2 || strings.Contains(out, "drill backup-drill") {
		t.Errorf("%v\n%s", err, out)
	}
	r, err := repository.LastRun(t.Context(), w.Parts[0].Store, repository.RunDrill)
	if err != nil || r.Result != repository.RunOK || r.Backups != 2 || r.Messages != 18 || r.Server != addr {
		t.Errorf("%+v, %v", r, err)
	}
	status, _ := toolWith(t, w, conf, "status")
	if !strings.Contains(status, " to "+addr) {
		t.Error(status)
	}
	out, err = toolWith(t, w, conf, "drill", "--to", addr, "-j", "bob")
	if err != nil || !strings.Contains(out, `"server": "`+addr+`"`) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = toolWith(t, w, conf, "drill", "--to", addr, "backup-drill"); err == nil || !strings.Contains(out+err.Error(), "the scratch user of drills") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A server that cannot be used is no finding about the backups: the run is incomplete, and status warns.
func TestDrillWithoutServer(t *testing.T) {
	w := two(t)
	s, addr, conf := intoServer(t)
	s.Passwords["repl"] = "other"
	out, err := toolWith(t, w, conf, "drill", "--to", addr)
	if err == nil || !strings.Contains(err.Error(), "cannot restore to "+addr) || strings.Contains(out, "failed") {
		t.Errorf("%v\n%s", err, out)
	}
	r, err := repository.LastRun(t.Context(), w.Parts[0].Store, repository.RunDrill)
	if err != nil || r.Result != repository.RunIncomplete || r.Failed != 0 || !strings.Contains(r.Error, addr) {
		t.Errorf("%+v, %v", r, err)
	}
	status, _ := toolWith(t, w, conf, "status")
	if !strings.Contains(status, "could not use the server "+addr) {
		t.Error(status)
	}
}
