package source

import (
	"crypto/sha1"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// bodies reads all messages and checks their sizes and GUIDs.
func bodies(t *testing.T, f Folder) []string {
	t.Helper()
	var out []string
	for i, m := range f.Messages {
		r, err := f.Open(i)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if int(m.Size) != len(b) || m.GUID != cyrus.GUID(sha1.Sum(b)) {
			t.Errorf("message %d: %d bytes, announced %d; or another GUID", i, len(b), m.Size)
		}
		out = append(out, string(b))
	}
	return out
}

func TestMbox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	write(t, path, "From a@b Tue Nov 14 22:13:21 2023\nSubject: 1\n\n>From you\n>>From me\n> From\n\nFrom b\nSubject: 2\n\nx\r\nlast without end")
	folders, err := Read(path, false)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Subject: 1\r\n\r\nFrom you\r\n>From me\r\n> From\r\n", "Subject: 2\r\n\r\nx\r\nlast without end"}
	if got := bodies(t, folders[0]); !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if d := []int64{folders[0].Messages[0].Date, folders[0].Messages[1].Date}; d[0] != 1700000001 || d[1] != fallbackDate {
		t.Errorf("dates %v", d)
	}
	write(t, path, "no mbox\n")
	if _, err := Read(path, false); err == nil {
		t.Error("no mbox is accepted")
	}
}

func TestMaildir(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/cur/1700000002.b:2,SF", "b\n")
	write(t, top+"/new/1700000001.a", "a\n")
	write(t, top+"/tmp/1700000000.t", "t\n")
	write(t, top+"/.Sent.Old/cur/1700000003.c:2,RST", "c\n")
	write(t, top+"/.Empty/cur/.keep", "")
	folders, err := Read(top, false)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range folders {
		paths = append(paths, strings.Join(f.Path, "/"))
	}
	if !reflect.DeepEqual(paths, []string{"", "Empty", "Sent/Old"}) {
		t.Fatalf("%q", paths)
	}
	if got := bodies(t, folders[0]); !reflect.DeepEqual(got, []string{"a\r\n", "b\r\n"}) {
		t.Errorf("%q", got)
	}
	m := folders[0].Messages[1]
	if m.Date != 1700000002 || !reflect.DeepEqual(m.Flags, []string{`\Flagged`, `\Seen`}) {
		t.Errorf("%+v", m)
	}
	if m := folders[2].Messages[0]; !reflect.DeepEqual(m.Flags, []string{`\Deleted`, `\Answered`, `\Seen`}) {
		t.Errorf("%+v", m)
	}
}

func TestEML(t *testing.T) {
	top := t.TempDir()
	write(t, top+"/2.eml", "two\n")
	write(t, top+"/1.EML", "one\r\n")
	write(t, top+"/note.txt", "")
	write(t, top+"/Entwürfe & mehr/x.eml", "x")
	folders, err := Read(top, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := bodies(t, folders[0]); !reflect.DeepEqual(got, []string{"one\r\n", "two\r\n"}) {
		t.Errorf("%q", got)
	}
	if got := folders[1].Path; !reflect.DeepEqual(got, []string{"Entw&APw-rfe &- mehr"}) {
		t.Errorf("%q", got)
	}
	if _, err := Read(t.TempDir(), false); err == nil {
		t.Error("an empty directory is accepted")
	}
}

func TestWireReader(t *testing.T) {
	long := strings.Repeat("x", 70000)
	in := "a\nb\r\n\n\r\n>From x\n" + long + "\n>>From " + long + "\r\r\n\rend\r"
	want := "a\r\nb\r\n\r\n\r\nFrom x\r\n" + long + "\r\n>From " + long + "\r\r\n\rend\r"
	for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
		got, err := io.ReadAll(iotest.OneByteReader(unquoting(r)))
		if err != nil || string(got) != want {
			t.Errorf("%d bytes, want %d, %v", len(got), len(want), err)
		}
	}
	if err := iotest.TestReader(unquoting(strings.NewReader(in)), []byte(want)); err != nil {
		t.Error(err)
	}
}

func TestGen(t *testing.T) {
	g, err := ParseGen("gen:5:3k:7")
	if err != nil || g != (Gen{5, 3072, 7}) {
		t.Fatalf("%+v, %v", g, err)
	}
	f := g.Folder()
	got := bodies(t, f)
	for i, b := range got {
		if len(b) != 3072 {
			t.Errorf("message %d has %d bytes", i, len(b))
		}
	}
	again := Gen{8, 3072, 7}.Folder()
	if !reflect.DeepEqual(again.Messages[:5], f.Messages) {
		t.Error("a second run makes other messages")
	}
	if other := (Gen{5, 3072, 8}).Folder(); other.Messages[0].GUID == f.Messages[0].GUID {
		t.Error("another seed makes the same messages")
	}
	for _, bad := range []string{"gen:", "gen:1", "gen:x:1", "gen:1:1G", "gen:1:1:x", "gen:-1:1", "gen:1:1:1:1"} {
		if _, err := ParseGen(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func BenchmarkGen(b *testing.B) {
	g := Gen{Count: 1000, Size: 50 << 10}
	b.SetBytes(int64(g.Count * g.Size))
	for b.Loop() {
		g.Folder()
	}
}

func unquoting(r io.Reader) io.Reader {
	w := newWireReader(r)
	w.unquote = true
	return w
}

func TestVerbatim(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a/1.eml", "one\nbare\r\n")
	write(t, dir+"/b/cur/1700000001.a", "one\nbare\r\n")
	write(t, dir+"/m", "From a\none\nbare\r\n>From b\n\n")
	want := map[string]string{"a": "one\nbare\r\n", "b": "one\nbare\r\n", "m": "one\nbare\r\nFrom b\n"}
	for name, body := range want {
		folders, err := Read(filepath.Join(dir, name), true)
		if err != nil {
			t.Fatal(err)
		}
		if got := bodies(t, folders[0]); !reflect.DeepEqual(got, []string{body}) {
			t.Errorf("%s: %q, want %q", name, got, body)
		}
	}
}
