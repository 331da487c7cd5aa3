package files_test

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/files"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// asRestore makes the test binary restore the backup in a directory: KIND PATH BUCKET.
const asRestore = "FILES_TEST_RESTORE"

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(asRestore)); len(words) == 3 {
		if err := child(words[0], words[1], words[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child prints a line for each message that is done.
func child(kind, path, bucket string) error {
	store, err := dirstore.Open(bucket)
	if err != nil {
		return err
	}
	mem, err := history.Load(context.Background(), store, repository.UserName("anne").Path(), history.Moment{})
	if err != nil {
		return err
	}
	src := restore.NewSource(mem, history.NewObjects(store, 0))
	sel, err := src.Select(restore.Options{All: true, DeletedPrefix: "DELETED"})
	if err != nil {
		return err
	}
	rep := &restore.Report{Progress: announced{}, Problem: func(err error) { fmt.Fprintln(os.Stderr, err) }}
	o := files.Options{Kind: kind, Path: path, DefaultDomain: "internal", DeletedPrefix: "DELETED"}
	return files.New(src, rep, o).Restore(context.Background(), sel.Folders, nil)
}

type announced struct{ restoretest.Progress }

func (announced) Add(int, int64) { fmt.Println() }

const (
	kills        = 20
	perFolder    = 15
	killedInAll  = 4 * perFolder
	copiesOfEach = 2
)

func killedBackup(t *testing.T) (b *restoretest.Backup, want map[string]int) {
	b = restoretest.New(t, "anne")
	want = map[string]int{}
	for _, name := range []string{"user.anne", "user.anne.Sent"} {
		box := b.Box(name)
		for i := range perFolder {
			for range copiesOfEach { // two live copies count twice
				body := restoretest.Mail(fmt.Sprint(name, i)) + strings.Repeat("text\r\n", i*100)
				box.Deliver(body, 1600000000+int64(i), fmt.Sprint("k", i))
				want[sum([]byte(body))]++
			}
		}
	}
	b.Sync()
	return b, want
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha1.Sum(b)) }

// However often a restore is killed, another run completes it and adds nothing twice.
func TestKilled(t *testing.T) {
	b, want := killedBackup(t)
	bucket := t.TempDir()
	b.WriteTo(bucket)
	src := b.Source(time.Time{})
	for kind, read := range map[string]func(*testing.T, string) map[string]int{
		"maildir": messageFiles, "eml": messageFiles, "mbox": mboxMessages, "tar": tarMessages} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(len(kind)), 2))
			partial := 0
			for n := range kills {
				to := filepath.Join(t.TempDir(), "to")
				killAfter(t, random.IntN(killedInAll), kind, to, bucket)
				sums, err := run(t, src, kind, to)
				if err != nil || sums.Problems > 0 || sums.Added+sums.There != killedInAll {
					t.Fatalf("kill %d: the second run: %+v, %v", n, sums, err)
				}
				if sums.Added > 0 {
					partial++
				}
				if got := read(t, to); !maps.Equal(got, want) {
					t.Fatalf("kill %d: %d distinct messages instead of %d, or the wrong number of copies", n, len(got), len(want))
				}
				noLeftovers(t, filepath.Dir(to))
				if sums, err := run(t, src, kind, to); err != nil || sums.Added != 0 || sums.There != killedInAll {
					t.Fatalf("kill %d: the third run: %+v, %v", n, sums, err)
				}
			}
			if partial < kills/2 {
				t.Errorf("only %d of %d runs were interrupted", partial, kills)
			}
		})
	}
}

// killAfter kills a restore after some messages.
func killAfter(t *testing.T, messages int, kind, to, bucket string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asRestore+"="+strings.Join([]string{kind, to, bucket}, " "))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for sc := bufio.NewScanner(out); messages >= 0 && sc.Scan(); messages-- {
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if messages >= 0 {
		t.Fatal("the restore ended before it was killed")
	}
}

// A run can be killed while it writes one of the small files beside the messages.
func TestSmallLeftovers(t *testing.T) {
	t.Parallel()
	b, _ := killedBackup(t)
	src := b.Source(time.Time{})
	for kind, list := range map[string][]string{
		"maildir": {"subscriptions", ".Sent/maildirfolder", "sieve/a.sieve"},
		"eml":     {"account.json", "sieve/a.sieve"},
	} {
		to := filepath.Join(t.TempDir(), "to")
		for _, name := range list {
			name = filepath.Join(to, name+".0123456789abcdef.partial")
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		sel, err := src.Select(restore.Options{All: true})
		if err != nil {
			t.Fatal(err)
		}
		account := &restore.Account{Scripts: []*history.SieveEvent{{User: "anne", Filename: "a.script", Content: "keep;"}}}
		d := files.New(src, restoretest.Report(t), files.Options{Kind: kind, Path: to})
		if err := d.Restore(t.Context(), sel.Folders, account); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		noLeftovers(t, to)
	}
}

func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	for _, f := range listing(t, dir) {
		if strings.HasSuffix(f, ".partial") {
			t.Errorf("leftover file %s", f)
		}
	}
}

// messageFiles counts the messages of a Maildir or a tree of .eml files by their SHA-1.
func messageFiles(t *testing.T, dir string) map[string]int {
	out := map[string]int{}
	for _, f := range listing(t, dir) {
		if strings.Contains(f, "cur/") || strings.HasSuffix(f, ".eml") {
			b, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			out[sum(b)]++
		}
	}
	return out
}

func tarMessages(t *testing.T, name string) map[string]int {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]int{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(h.Name, ".eml") {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			out[sum(b)]++
		}
	}
}

var (
	mboxHead  = regexp.MustCompile(`(?m)^From MAILER-DAEMON .*\n(?:Status|X-Status|X-Keywords): .*\n(?:(?:X-Status|X-Keywords|X-IMAPbase): .*\n)*`)
	mboxQuote = regexp.MustCompile(`(?m)^>(>*From )`)
)

// mboxMessages reverses the mbox encoding of messages with CRLF line ends.
func mboxMessages(t *testing.T, dir string) map[string]int {
	out := map[string]int{}
	for _, f := range listing(t, dir) {
		if !strings.HasSuffix(f, ".mbox") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mboxHead.Split(string(b), -1)[1:] {
			m = mboxQuote.ReplaceAllString(strings.TrimSuffix(m, "\n"), "$1")
			out[sum([]byte(strings.ReplaceAll(m, "\n", "\r\n")))]++
		}
	}
	return out
}
