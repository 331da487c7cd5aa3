package bucketrestore

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The script names folders like restore does.
func TestNames(t *testing.T) {
	const table = "../../internal/restore/filename/testdata/names.json"
	b, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	var want []struct {
		Internal []string
		Maildir  string
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	const program = `
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("bucket_restore", sys.argv[1])
m = importlib.util.module_from_spec(spec)
spec.loader.exec_module(m)
for e in json.load(open(sys.argv[2])):
    print(json.dumps(m.folder_name(".".join(["user", "anne", *e["internal"]]))))
`
	c := exec.CommandContext(t.Context(), "python3", "-c", program, strings.TrimSuffix(script(t), ".sh")+".py", table)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(lines) != len(want) {
		t.Fatalf("%d names for %d mailboxes", len(lines), len(want))
	}
	for i, e := range want {
		var got string
		if err := json.Unmarshal(lines[i], &got); err != nil || got != e.Maildir {
			t.Errorf("%q: %q, want %q (%v)", e.Internal, got, e.Maildir, err)
		}
	}
}
