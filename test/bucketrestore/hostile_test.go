package bucketrestore

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore/pack"
)

// entry is an entry of a container, possibly a hostile one.
type entry struct {
	name, link, body string
	kind             byte // 0 = a regular file
	format           tar.Format
}

// container returns an object with these entries: a valid one, if format.md allows them.
func container(t *testing.T, list ...entry) []byte {
	t.Helper()
	w := pack.NewWriter(nil, pack.Options{})
	for _, e := range list {
		if e.kind != 0 || e.format != 0 || w.Add(e.name, []byte(e.body)) != nil {
			return strange(t, list)
		}
	}
	whole, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

// strange returns an archive with any entries, without a directory.
func strange(t *testing.T, list []entry) []byte {
	t.Helper()
	var archive bytes.Buffer
	for _, e := range list {
		if e.kind == 0 && e.format == 0 && len(e.name) <= 100 {
			archive.Write(plainHeader(e.name, len(e.body)))
			archive.WriteString(e.body)
			archive.Write(make([]byte, (512-len(e.body)%512)%512))
			continue
		}
		var one bytes.Buffer
		w := tar.NewWriter(&one)
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o644, Format: e.format}
		if e.kind == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.body))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil && e.kind == 0 {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		archive.Write(one.Bytes())
	}
	archive.Write(make([]byte, 1024))
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(archive.Bytes(), nil)
}

// plainHeader returns the header of format.md 1.2.
func plainHeader(name string, size int) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00        0", size))
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x000000000\x00")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// crime is a repository with one user and one attack.
type crime struct {
	whole   bool   // all three messages are restored
	none    bool   // no message is restored: the commit is refused
	mailbox string // the second mailbox's name
	time    string // time of the commit
	bytes   []byte // the second mailbox's name if it is not UTF-8
	pack    func(guid, chunk, body string) []entry
	place   func(p map[string]string)
	events  []map[string]any // additional events of the commit
	second  bool             // a second pack, named first, has the body as well
	twice   bool             // a second place refers to another entry of the same pack
	after   func(t *testing.T, store, pack string)
}

const body = "Subject: x\r\n\r\nbody\r\n"

// commit writes the repository and returns the key of its pack.
func (c *crime) commit(t *testing.T, store string) string {
	t.Helper()
	g, h := sha1.Sum([]byte(body)), sha256.Sum256([]byte(body))
	guid, chunk := fmt.Sprintf("%x", g), fmt.Sprintf("%x", h)
	other := "Subject: y\r\n\r\nother\r\n"
	g2, h2 := sha1.Sum([]byte(other)), sha256.Sum256([]byte(other))
	entries := []entry{{name: guid + ".eml", body: body}}
	if c.pack != nil {
		entries = c.pack(guid, chunk, body)
	}
	object := container(t, entries...)
	sum := fmt.Sprintf("%x", sha256.Sum256(object))
	pack := "packs/" + sum[:2] + "/" + sum + ".tar.zst"
	put(t, store, pack, object)
	place := map[string]string{"chunk": chunk, "object": pack, "entry": guid + ".eml"}
	if c.place != nil {
		c.place(place)
	}
	record := func(uid int, guid string, size int) map[string]any {
		return map[string]any{"uid": uid, "modseq": "1", "last_updated": 1700000000, "flags": []string{}, "internaldate": 1700000000, "size": size, "guid": guid}
	}
	message := func(guid, chunk string, size int) map[string]any {
		return map[string]any{"guid": guid, "size": size, "chunks": []string{chunk}}
	}
	mailbox := c.mailbox
	if mailbox == "" {
		mailbox = "user.anne.Second"
	}
	var name any = mailbox
	if c.bytes != nil {
		name = map[string]any{"b64": c.bytes}
	}
	events := []any{
		map[string]any{"version": 1, "backup": "user/anne", "number": 1, "prev": "", "time": cmp.Or(c.time, "2026-11-20T12:00:00Z"), "host": "h", "clock": "2026-11-20T12:00:00Z",
			"connection": "c", "client": "c", "random": strings.Repeat("0", 32)},
		map[string]any{"event": "mailbox", "uniqueid": "one", "name": "user.anne", "fields": []any{}},
		map[string]any{"event": "mailbox", "uniqueid": "two", "name": name, "fields": []any{}},
		map[string]any{"event": "messages", "messages": []any{message(guid, chunk, len(body)), message(fmt.Sprintf("%x", g2), fmt.Sprintf("%x", h2), len(other))}},
		map[string]any{"event": "records", "uniqueid": "one", "records": []any{record(1, guid, len(body)), record(2, fmt.Sprintf("%x", g2), len(other))}},
		map[string]any{"event": "records", "uniqueid": "two", "records": []any{record(1, fmt.Sprintf("%x", g2), len(other))}},
	}
	for _, e := range c.events {
		events = append(events, e)
	}
	lines := ndjson(t, events...)
	var more []any
	if c.second {
		copied := container(t, entry{name: guid + ".eml", body: body}, entry{name: strings.Repeat("0", 40) + ".eml", body: "x"})
		sum := fmt.Sprintf("%x", sha256.Sum256(copied))
		put(t, store, "packs/"+sum[:2]+"/"+sum+".tar.zst", copied)
		more = append(more, map[string]string{"chunk": chunk, "object": "packs/" + sum[:2] + "/" + sum + ".tar.zst", "entry": guid + ".eml"})
	}
	if c.twice {
		more = append(more, map[string]string{"chunk": chunk, "object": pack, "entry": chunk + ".part"})
	}
	places := ndjson(t, append(more, place, map[string]string{"chunk": fmt.Sprintf("%x", h2), "object": ".", "entry": fmt.Sprintf("%x.eml", g2)})...)
	put(t, store, "backups/user/anne/log/0000000000000001.tar.zst",
		container(t, entry{name: "commit.ndjson", body: lines}, entry{name: "places.ndjson", body: places}, entry{name: fmt.Sprintf("%x.eml", g2), body: other}))
	id := strings.Repeat("0", 32)
	put(t, store, "repository.json", []byte(`{"version":1,"id":"`+id+`","created":"2026-11-20T12:00:00Z","software":"x","dedup":"partition","chunker":"fastcdc-1","capabilities":{}}`))
	put(t, store, "backups/user/anne/backup.json", []byte(`{"version":1,"name":"anne","kind":"user","created":"2026-11-20T12:00:00Z","id":"`+id+`"}`))
	return pack
}

func ndjson(t *testing.T, list ...any) string {
	t.Helper()
	var b strings.Builder
	for _, v := range list {
		if err := json.NewEncoder(&b).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func put(t *testing.T, store, key string, b []byte) {
	t.Helper()
	path := filepath.Join(store, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

const secret = "the secret of another user"

// crimes are attacks that are possible with write access to a bucket.
func crimes() map[string]crime {
	return map[string]crime{
		"no trick": {whole: true},
		"an entry is a symbolic link": {pack: func(guid, _, _ string) []entry {
			return []entry{{name: guid + ".eml", kind: tar.TypeSymlink, link: "../../../../../victim/secret"}}
		}},
		"an entry is a hard link": {pack: func(guid, _, _ string) []entry {
			return []entry{{name: guid + ".eml", kind: tar.TypeLink, link: "/victim/secret"}}
		}},
		"a directory is a link and contains an entry": {pack: func(guid, _, body string) []entry {
			return []entry{{name: "d", kind: tar.TypeSymlink, link: "/tmp"}, {name: "d/written", body: body}, {name: guid + ".eml", body: body}}
		}},
		"an entry is above":    {pack: func(guid, _, body string) []entry { return []entry{{name: "../written", body: body}} }},
		"an entry is absolute": {pack: func(guid, _, body string) []entry { return []entry{{name: "/tmp/written", body: body}} }},
		"an entry is a device": {pack: func(guid, _, _ string) []entry { return []entry{{name: guid + ".eml", kind: tar.TypeFifo}} }},
		"an entry has a long name": {pack: func(guid, _, body string) []entry {
			return []entry{{name: strings.Repeat("../", 50) + "x", body: body, format: tar.FormatGNU}}
		}},
		"an entry has pax headers": {pack: func(guid, _, body string) []entry {
			return []entry{{name: strings.Repeat("x/", 80) + guid + ".eml", body: body, format: tar.FormatPAX}}
		}},
		"an entry has other bytes": {pack: func(guid, _, _ string) []entry { return []entry{{name: guid + ".eml", body: "other bytes"}} }},
		"a place names an option":  {place: func(p map[string]string) { p["entry"] = "--directory=/tmp" }},
		"a place names a file":     {place: func(p map[string]string) { p["object"] = "../victim/secret" }},
		"a place names an absolute file": {place: func(p map[string]string) {
			p["object"] = "/etc/passwd"
		}},
		"a pack is a link": {after: func(t *testing.T, store, pack string) {
			path := filepath.Join(store, pack)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(store, "../victim/pack"), path); err != nil {
				t.Fatal(err)
			}
		}},
		"a moved pack is a file": {after: func(t *testing.T, store, pack string) {
			if err := os.Remove(filepath.Join(store, pack)); err != nil {
				t.Fatal(err)
			}
			note := strings.TrimSuffix(strings.Replace(pack, "packs/", "moved/", 1), ".tar.zst") + ".json"
			g := sha1.Sum([]byte(body))
			put(t, store, note, fmt.Appendf(nil, `{"version":1,"pack":%q,"time":"2026-11-20T12:00:00Z","entries":{"%x.eml":"../victim/pack"}}`, pack, g))
		}},
		"a block is a file": {none: true, events: []map[string]any{{"event": "recordblocks", "uniqueid": "one", "blocks": []any{
			map[string]any{"block": 0, "count": 1, "sha256": strings.Repeat("a", 64), "object": "../victim/pack"}}}}},
		"a guid is a path": {none: true, events: []map[string]any{{"event": "records", "uniqueid": "one", "records": []any{map[string]any{
			"uid": 7, "modseq": "1", "last_updated": 1, "flags": []string{}, "internaldate": 1, "size": 1, "guid": "../../../../victim/secret"}}}}},
		"a uid is text": {none: true, events: []map[string]any{{"event": "records", "uniqueid": "one", "records": []any{map[string]any{
			"uid": "../x", "modseq": "1", "last_updated": 1, "flags": []string{}, "internaldate": 1, "size": 1, "guid": strings.Repeat("0", 40)}}}}},
		"a chunk is a path": {none: true, events: []map[string]any{{"event": "messages", "messages": []any{map[string]any{
			"guid": strings.Repeat("0", 40), "size": 1, "chunks": []string{"../../../victim/secret"}}}}}},
		"a pack is truncated, and another has the body": {whole: true, second: true, after: func(t *testing.T, store, pack string) {
			if err := os.Truncate(filepath.Join(store, pack), 40); err != nil {
				t.Fatal(err)
			}
		}},
		"a pack is missing, and another has the body": {whole: true, second: true, after: func(t *testing.T, store, pack string) {
			if err := os.Remove(filepath.Join(store, pack)); err != nil {
				t.Fatal(err)
			}
		}},
		"two mailboxes have one place": {mailbox: "zz!user.anne"},
		"a pack has the body twice": {whole: true, twice: true, pack: func(guid, chunk, body string) []entry {
			return []entry{{name: guid + ".eml", body: body}, {name: chunk + ".part", body: body}}
		}},
		"a mailbox is not in UTF-8":   {whole: true, bytes: []byte("user.anne.\xff\xfe")},
		"a mailbox is above":          {mailbox: "user.anne..", whole: true},
		"a mailbox has a slash":       {mailbox: "user.anne.^^/^^/victim/x", whole: true},
		"a mailbox moves the cursor":  {mailbox: "user.anne.\x1b[2J\x1b]0;x\x07\u202e\r\n", whole: true},
		"a mailbox is called cur":     {mailbox: "user.anne./cur", whole: true},
		"a mailbox has a long name":   {mailbox: "user.anne." + strings.Repeat("x", 5000), whole: true},
		"a mailbox is a sieve script": {mailbox: "user.anne.../../victim/sieve", whole: true},
	}
}

// Write access to the bucket must not make the script write or read any other file. Mail that the
// attack does not touch is restored.
func TestHostileBucket(t *testing.T) {
	for about, c := range crimes() {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			store, victim := filepath.Join(top, "store"), filepath.Join(top, "victim")
			pack := c.commit(t, store)
			put(t, top, "victim/secret", []byte(secret))
			put(t, top, "victim/pack", container(t, entry{name: strings.Repeat("0", 40) + ".eml", body: secret}))
			if c.after != nil {
				c.after(t, store, pack)
			}
			p := &person{t, store, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
			before := tree(t, top)
			p.must("list")
			listed, _, _ := p.run("mailboxes", "user/anne") // status 75 if something was skipped
			out, diag, err := p.run("restore", "user/anne", filepath.Join(top, "new"))
			if (err == nil) != c.whole {
				t.Errorf("%v: %s%s", err, out, diag)
			}
			for _, text := range []string{listed, out, diag} {
				if strings.ContainsAny(text, "\x1b\x07\u202e\r") {
					t.Errorf("the output moves the cursor: %q", text)
				}
			}
			after := tree(t, top)
			want, got := 2, 0
			if c.whole {
				want = 3
			} else if c.none {
				want = 0
			}
			for path, content := range after {
				switch rel, below := strings.CutPrefix(path, "new/"); {
				case below && filepath.Base(filepath.Dir(rel)) == "cur":
					got++
				case !below && before[path] != content:
					t.Errorf("%s was changed or created", path)
				}
				if strings.HasPrefix(path, "new/") && strings.Contains(content, secret) {
					t.Errorf("%s has the secret", path)
				}
			}
			if got != want || len(after) < len(before) {
				t.Errorf("%d messages restored, want %d: %s%s", got, want, out, diag)
			}
			if b, err := os.ReadFile(filepath.Join(victim, "secret")); err != nil || string(b) != secret {
				t.Errorf("the victim: %q, %v", b, err)
			}
			if _, err := os.Lstat("/tmp/written"); err == nil {
				t.Error("/tmp/written was created")
			}
		})
	}
}

// tree returns every file below a directory with its content or link target.
func tree(t *testing.T, top string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		if d.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(path)
			out[rel] = "-> " + to
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("%s: others can read it (%v)", path, err)
		}
		b, err := os.ReadFile(path)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The same attacks against our own programs, into every kind of files.
func TestHostileBucketAndPrograms(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin+"/", "../../cmd/restore", "../../cmd/cyr_backup", "../../cmd/ctl_backups").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for about, c := range crimes() {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			store := filepath.Join(top, "store")
			pack := c.commit(t, store)
			put(t, top, "victim/secret", []byte(secret))
			put(t, top, "victim/pack", container(t, entry{name: strings.Repeat("0", 40) + ".eml", body: secret}))
			if c.after != nil {
				c.after(t, store, pack)
			}
			put(t, top, "conf/imapd.conf", []byte("configdirectory: "+top+"/conf\nbackuppartition-default: "+store+"\n"))
			before := tree(t, top)
			to := filepath.Join(top, "new")
			if err := os.Mkdir(to, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, argv := range [][]string{
				{"restore", "--to", "maildir:" + to + "/md", "anne", "-a"}, {"restore", "--to", "mbox:" + to + "/mbox", "anne", "-a"},
				{"restore", "-v", "--to", "eml:" + to + "/eml", "anne", "-a"}, {"restore", "--to", "tar:" + to + "/a.tar", "anne", "-a"},
				{"cyr_backup", "anne", "list", "mailboxes"}, {"cyr_backup", "anne", "list", "messages"}, {"cyr_backup", "anne", "log"},
				{"ctl_backups", "list"}, {"ctl_backups", "verify", "anne"}, {"ctl_backups", "export", "anne", to + "/export"},
			} {
				cmd := exec.CommandContext(t.Context(), filepath.Join(bin, argv[0]), append([]string{"-C", top + "/conf/imapd.conf"}, argv[1:]...)...)
				cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "HOME=" + t.TempDir()}
				out, err := cmd.CombinedOutput()
				if strings.ContainsAny(string(out), "\x1b\x07\u202e\r") {
					t.Errorf("%v moves the cursor: %q", argv, out)
				}
				var ended *exec.ExitError
				if errors.As(err, &ended) && ended.ExitCode() != 75 || err != nil && ended == nil || strings.Contains(string(out), "goroutine ") {
					t.Errorf("%v: %v: %s", argv, err, out)
				}
				if c.whole && argv[0] == "restore" && err != nil {
					t.Errorf("%v: %v: %s", argv, err, out)
				}
			}
			for path, content := range tree(t, top) {
				if below := strings.HasPrefix(path, "new/"); !below && before[path] != content && !strings.HasPrefix(path, "conf/") {
					t.Errorf("%s was changed or created", path)
				} else if below && strings.Contains(content, secret) {
					t.Errorf("%s has the secret", path)
				}
			}
		})
	}
}

// An impossible time is refused, and a full disk ends the script with one line and status 75.
func TestScriptErrors(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	(&crime{}).commit(t, store)
	p := &person{t, store, []string{"PATH=" + tools(t), "TMPDIR=" + t.TempDir()}}
	if _, diag, err := p.run("mailboxes", "user/anne", "2026-13-45T99:99:99Z"); err == nil || !strings.Contains(diag, "there is no such time") {
		t.Errorf("%v: %s", err, diag)
	}
	wrong := filepath.Join(t.TempDir(), "store")
	(&crime{time: "2026-13-45T99:99:99Z"}).commit(t, wrong)
	p.store = wrong
	if _, diag, err := p.run("mailboxes", "user/anne", "2026-11-20T12:00:00Z"); err == nil || !strings.Contains(diag, "commit 1 is skipped") || strings.Contains(diag, "Traceback") {
		t.Errorf("a commit of no time: %v: %s", err, diag)
	}
	// Files of at most 512 bytes act like a full disk for folders.ndjson and the database.
	c := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -f 1 && exec sh "$@"`, "sh", script(t), store, "restore", "user/anne", filepath.Join(t.TempDir(), "new"))
	c.Env = p.env
	out, err := c.CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 75 || strings.Contains(string(out), "Traceback") {
		t.Errorf("%v: %s", err, out)
	}
}
