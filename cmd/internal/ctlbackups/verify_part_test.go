package ctlbackups

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// five makes the backups u1 to u5.
func five(t *testing.T) *tooltest.World {
	w := tooltest.New(t, "default")
	for i := 1; i <= 5; i++ {
		m := tooltest.NewMailbox(fmt.Sprintf("user.u%d", i))
		m.Deliver(tooltest.Mail("mail", "carol@example.org", 3000), w.Now)
		w.Sync(m)
	}
	return w
}

// verifiedUsers runs verify --read, and returns the verified users.
func verifiedUsers(t *testing.T, w *tooltest.World, argv ...string) (string, error) {
	t.Helper()
	out, err := tool(t, w, append([]string{"verify"}, argv...)...)
	var users []string
	for _, m := range regexp.MustCompile(`(?m)^verify (u\d): `).FindAllStringSubmatch(out, -1) {
		users = append(users, m[1])
	}
	return strings.Join(users, " "), err
}

// Each run verifies the next part. When all backups were verified, that is recorded, and the next run
// begins with the first one.
func TestVerifyInParts(t *testing.T) {
	w := five(t)
	store := w.Parts[0].Store
	begun := w.Now
	for i, want := range []string{"u1 u2", "u3 u4", "u5", "u1 u2"} {
		if users, err := verifiedUsers(t, w, "--read", "40%"); err != nil || users != want {
			t.Fatalf("run %d: %q, %v; want %s", i, users, err, want)
		}
		r, err := repository.LastRun(t.Context(), store, repository.RunVerify)
		switch {
		case i < 2 && !errors.Is(err, objstore.ErrNotExist):
			t.Errorf("run %d: %+v, %v", i, r, err)
		case i >= 2 && (err != nil || r.Backups != 5 || r.Failed != 0 || r.Result != repository.RunOK || !r.Begun.Equal(begun) || !r.Ended.Equal(begun.Add(2*24*time.Hour))):
			t.Errorf("run %d: %+v, %v", i, r, err)
		}
		w.Now = w.Now.Add(24 * time.Hour)
	}
}

// A damaged backup counts, and does not stop the cycle.
func TestVerifyInPartsWithDamage(t *testing.T) {
	w := five(t)
	for key := range w.Keys("backups/user/u2/log/") {
		w.Damage(key)
	}
	if users, err := verifiedUsers(t, w, "--read", "60%"); !errors.Is(err, cli.ErrReported) || users != "u1 u2 u3" {
		t.Errorf("%q, %v", users, err)
	}
	if out, err := tool(t, w, "status"); err == nil || !strings.Contains(out, "verify-part at") {
		t.Errorf("%v\n%s", err, out)
	}
	if users, err := verifiedUsers(t, w, "--read", "60%"); err != nil || users != "u4 u5" {
		t.Errorf("%q, %v", users, err)
	}
	if r, err := repository.LastRun(t.Context(), w.Parts[0].Store, repository.RunVerify); err != nil || r.Backups != 5 || r.Failed != 1 || r.Result != repository.RunFailed {
		t.Errorf("%+v, %v", r, err)
	}
}

// A number of bytes ends with the backup that reaches it.
func TestVerifyBytes(t *testing.T) {
	w := five(t)
	for i, want := range []string{"u1 u2", "u3 u4", "u5"} {
		if users, err := verifiedUsers(t, w, "--read", "4k"); err != nil || users != want {
			t.Fatalf("run %d: %q, %v; want %s", i, users, err, want)
		}
	}
}

// A record that cannot be read begins a new cycle.
func TestVerifyInPartsWithDamagedRecord(t *testing.T) {
	w := five(t)
	if _, err := verifiedUsers(t, w, "--read", "20%"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Parts[0].Store.Put(t.Context(), repository.CycleKey, strings.NewReader("{"), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if users, err := verifiedUsers(t, w, "--read", "20%"); err != nil || users != "u1" {
		t.Errorf("%q, %v", users, err)
	}
}

func TestVerifyPartOptions(t *testing.T) {
	w := five(t)
	for _, test := range []struct{ argv, want string }{
		{"verify --read 0%", "no share"},
		{"verify --read x", `"x" is no amount`},
		{"verify --read 0", `"0" is no amount`},
		{"verify --read 5% -q", "--read cannot be used with --quick and --repair"},
		{"verify --read 5% bob", "takes no names"},
		{"list --read 5%", "--read cannot be used with list, only with verify"},
	} {
		if out, err := tool(t, w, strings.Fields(test.argv)...); err == nil || !strings.Contains(out+err.Error(), test.want) {
			t.Errorf("%s: %v, %s; want %s", test.argv, err, out, test.want)
		}
	}
}

// Backups end in any order; the cycle continues after the last one before which all have ended.
func TestPartialEndsInAnyOrder(t *testing.T) {
	p := &partial{cycle: new(repository.Cycle), ended: map[string]bool{}, most: 4}
	for _, path := range []string{"a", "b", "c", "d", "e"} {
		if ok := p.begin(path); ok != (path != "e") {
			t.Errorf("begin %s: %v", path, ok)
		}
	}
	for _, step := range []struct {
		path, after string
		failed      bool
	}{{"b", "", true}, {"a", "b", false}, {"d", "b", false}} {
		if p.end(step.path, 1, step.failed); p.cycle.After != step.after {
			t.Errorf("after the end of %s: %q", step.path, p.cycle.After)
		}
	}
	if p.cycle.Backups != 2 || p.cycle.Failed != 1 || len(p.begun) != 2 || p.bytes != 3 {
		t.Errorf("%+v, %v", p.cycle, p.begun)
	}
}

// If the end of a cycle cannot be recorded, the next run records it.
func TestEndOfCycleIsRecordedAgain(t *testing.T) {
	w := five(t)
	store := w.Stores[0]
	store.SetFaults(func(op, key string) error {
		if op == "put" && key == repository.RunKey(repository.RunVerify) {
			return objstore.ErrDenied
		}
		return nil
	}, nil)
	out, err := tool(t, w, "verify", "--read", "100%")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "could not record its end") {
		t.Errorf("%v\n%s", err, out)
	}
	store.SetFaults(nil, nil)
	if users, err := verifiedUsers(t, w, "--read", "100%"); err != nil || users != "" {
		t.Errorf("%q, %v", users, err)
	}
	if r, err := repository.LastRun(t.Context(), store, repository.RunVerify); err != nil || r.Backups != 5 {
		t.Errorf("%+v, %v", r, err)
	}
}
