package history

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shell runs a script with zstd, tar and jq in the directory of the golden repository.
func shell(t *testing.T, script string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	c.Dir = filepath.FromSlash(golden)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s\n%v: %s", script, err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// A person can read the golden repository with standard tools, without our programs.
func TestReadWithStandardTools(t *testing.T) {
	const b = "backups/user/anne"
	m := readTree(t, golden).load(Moment{Number: 6})

	// The chain of hashes, in the segment and in commits.
	got := shell(t, `
		{ zstd -dcq `+b+`/log/0000000000000001-0000000000000004.tar.zst | tar xOf - 0000000000000004/commit.ndjson | sha256sum | cut -d' ' -f1
		  zstd -dcq `+b+`/log/0000000000000005.tar.zst | tar xOf - commit.ndjson | head -1 | jq -r .prev; } | uniq`)
	if strings.Contains(got, "\n") || len(got) != 64 {
		t.Errorf("hash of commit 4, prev of commit 5:\n%s", got)
	}

	// Mailboxes as of the checkpoint.
	got = shell(t, `zstd -dcq `+b+`/checkpoints/0000000000000006.tar.zst | tar xOf - state.ndjson |
		jq -r 'select(.mailbox and (.mailbox.deleted|not)) | .mailbox | "\(.name) \(.live)"'`)
	if want := "user.anne 3\nuser.anne.Out 1\nuser.anne.Info 5"; got != want {
		t.Errorf("mailboxes:\n%s\nwant\n%s", got, want)
	}

	// Live records of a mailbox, from its blocks, which places.ndjson locates.
	got = shell(t, `
		c() { zstd -dcq `+b+`/checkpoints/0000000000000006.tar.zst | tar xOf - $1; }
		c state.ndjson | jq -r 'if .mailbox then .mailbox.uniqueid as $u | $u else empty end, (.records.sha256 // empty)' |
		sed -n '/^inbox-id$/,/-id$/p' | grep -E '^[0-9a-f]{64}$' | while read -r block; do
			object=$(c places.ndjson | jq -r --arg b "$block" 'select(.block == $b) | .object')
			zstd -dcq "$object" | tar xOf - "$block.records" | tee >(sha256sum | cut -d' ' -f1 | grep -q "$block") |
			jq -r 'select(.expunged|not) | "\(.record.uid) \(.record.guid)"'
		done`)
	var want []string
	for r, err := range m.Records("inbox-id", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Expunged == 0 {
			want = append(want, fmt.Sprintf("%d %s", r.UID, r.GUID))
		}
	}
	if got != strings.Join(want, "\n") || len(want) != 3 {
		t.Errorf("records:\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}

	// A message in two chunks, whose pack was rewritten.
	guid := rec(t, m, "inbox-id", 3).GUID.String()
	got = shell(t, `
		cp=`+b+`/checkpoints/0000000000000006.tar.zst
		block() { # all blocks of a kind
			zstd -dcq $cp | tar xOf - places.ndjson | jq -r '"\(.block // .places) \(.object)"' | while read -r sum object; do
				[ "$object" = null ] || zstd -dcq "$object" | tar xOf - "$sum.$1" 2>/dev/null || true
			done
		}
		block messages | jq -r --arg g `+guid+` 'select(.guid == $g) | .chunks[]' | while read -r chunk; do
			block places | jq -r --arg c "$chunk" 'select(.chunk == $c) | "\(.object) \(.entry)"' | tail -1
		done | while read -r object entry; do
			if [ ! -e "$object" ]; then
				moved=moved/${object#packs/}; moved=${moved%.tar.zst}.json
				object=$(jq -r --arg e "$entry" '.entries[$e]' "$moved")
			fi
			zstd -dcq "$object" | tar xOf - "$entry"
		done | sha1sum | cut -d' ' -f1`)
	if got != guid {
		t.Errorf("message %s: the SHA-1 of the bytes is %s", guid, got)
	}

	// An inline message.
	got = shell(t, `
		f=`+b+`/log/0000000000000007.tar.zst
		zstd -dcq $f | tar xOf - places.ndjson | jq -r 'select(.object == ".") | .entry' | while read -r entry; do
			[ "$(zstd -dcq $f | tar xOf - "$entry" | sha1sum | cut -d' ' -f1).eml" = "$entry" ] && echo right
		done`)
	if got != "right" {
		t.Errorf("the inline message: %q", got)
	}
}

// The commands of docs/format.md 6.1 work.
func TestCommandsInFormatDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "### 6.1")
	section, _, _ = strings.Cut(section, "\n### ")
	var script []string
	for line := range strings.Lines(section) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			script = append(script, command)
		}
	}
	m := readTree(t, golden).load(Moment{Number: 6})
	block := m.mailboxes["inbox-id"].blocks[1].ref.SHA256
	out := shell(t, "block="+block+"\n"+strings.Join(script, ""))
	for _, want := range []string{"user.anne 3 inbox-id\n", `{"uid":5000,`, readHash(readTree(t, golden), 7), `"event":"rename"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
