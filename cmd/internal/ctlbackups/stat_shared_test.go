package ctlbackups

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// stat --shared shows the bytes that would be left in packs if a user were erased.
func TestStatShared(t *testing.T) {
	w := two(t)
	mail := tooltest.Mail("for both", "carl@example.org", 200)
	for _, user := range []string{"bob", "dora"} {
		box := tooltest.NewMailbox("user." + user + ".both")
		box.Deliver(mail, w.Now)
		w.Sync(box)
	}
	w.Now = w.Now.AddDate(0, 0, 8)
	for _, user := range []string{"bob", "dora"} {
		w.Sync(tooltest.NewMailbox("user." + user + ".later"))
	}
	if out, err := tool(t, w, "stat", "--shared", "bob"); err == nil || !strings.Contains(out, "compact -A has never run here") {
		t.Errorf("before compact: %v\n%s", err, out)
	}
	if out, err := tool(t, w, "compact", "-A"); err != nil {
		t.Fatal(err, out)
	}
	var got struct {
		Bodies int64 `json:"bodies"`
		Shared int64 `json:"shared"`
		With   int   `json:"shared_with"`
	}
	out, err := tool(t, w, "stat", "--ndjson", "--shared", "bob")
	if err == nil {
		err = json.Unmarshal([]byte(out), &got)
	}
	if err != nil || got.Shared == 0 || got.Shared >= got.Bodies || got.With != 1 {
		t.Errorf("%v: %+v\n%s", err, got, out)
	}
	out, err = tool(t, w, "stat", "-h", "--shared", "bob", "anne@example.org")
	titles, _, _ := strings.Cut(out, "\n")
	if err != nil || !strings.HasPrefix(strings.Join(strings.Fields(titles), " "), "bodies shared log") || !strings.Contains(out, "2 backups") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Log(out)
	if out, err = tool(t, w, "stat", "--ndjson", "bob"); err != nil || strings.Contains(out, "shared") {
		t.Errorf("without the option: %v\n%s", err, out)
	}
	out, err = tool(t, w, "stat", "--shared", "bob")
	if cells := strings.Split(strings.TrimSpace(out), "\t"); err != nil || cells[len(cells)-1] != fmt.Sprint(got.Shared) {
		t.Errorf("the last of the cells %q is not %d, %v", cells, got.Shared, err)
	}
	if _, err := tool(t, w, "stat", "--shared", "-A"); !errors.As(err, new(*cli.UsageError)) {
		t.Errorf("of all: %v", err)
	}
	for key := range w.Keys("backups/user/dora/log/") {
		w.Damage(key)
	}
	out, err = tool(t, w, "stat", "--shared", "bob")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "more may be shared") || !strings.Contains(out, "bob\t") {
		t.Errorf("dora is damaged: %v\n%s", err, out)
	}
}
