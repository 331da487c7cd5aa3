package sasldb_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/ctlbackups/internal/sasldb"
)

// read returns the entries of a dump, by their keys.
func read(r io.Reader) (map[string]string, error) {
	got := map[string]string{}
	err := sasldb.Read(r, func(e sasldb.Entry) error {
		got[e.User+"\x00"+e.Realm+"\x00"+e.Property] = string(e.Value)
		return nil
	})
	return got, err
}

// The dumps of testdata are from databases of saslpasswd2, by the tools of Debian 12.
func TestRead(t *testing.T) {
	want := map[string]string{
		"repl\x00backup.example.com\x00userPassword": "secret of repl",
		"anne\x00backup.example.com\x00userPassword": "secret of anne",
		"repl\x00other.example\x00userPassword":      `wört #/\"`,
	}
	for _, name := range []string{"berkeley.txt", "berkeley-p.txt", "lmdb.txt", "gdbm.txt"} {
		dump, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := read(bytes.NewReader(dump)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if got, err := read(bytes.NewReader(bytes.ReplaceAll(dump, []byte("\n"), []byte("\r\n")))); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s with CR LF: %q, %v", name, got, err)
		}
		for n := range dump {
			if _, err := read(bytes.NewReader(dump[:n])); err == nil {
				t.Errorf("%s: its first %d bytes are accepted", name, n)
			}
		}
	}
}

const header = "VERSION=3\nformat=print\ntype=hash\nHEADER=END\n"

func TestFaults(t *testing.T) {
	for dump, want := range map[string]string{
		"":                                "the dump is empty",
		"anne:secret\n":                   "line 1: this is not a dump of db_dump, mdb_dump or gdbm_dump",
		"!\r\n! GDBM FLAT FILE DUMP\r\n":  "line 1: this is the binary format of gdbm_dump; dump with -H ascii",
		"VERSION=4\n":                     "line 1: the version of the dump is neither 2 nor 3",
		"VERSION=3\nHEADER=END\n":         "line 2: the header has no format",
		"VERSION=3\nformat=json\n":        "line 2: the format is neither bytevalue nor print",
		"VERSION=3\ntype=recno\n":         "line 2: a database of this type has no keys: this is not a sasldb",
		"VERSION=3\nkeys=0\n":             "line 2: a database of this type has no keys: this is not a sasldb",
		"VERSION=3\n anne\n":              "line 2: the header has no end",
		header + " a\\00b\\00c\nsecret\n": "line 6: it is not a key or a value of the format in the header",
		header + " a\\0xb\n":              "line 5: it is not a key or a value of the format in the header",
		header + " a\\00b\n secret\n":     "line 6: the key is not a user, a realm and a property: this is not a sasldb",
		header + " a\\00b\\00c\n":         "line 6: the dump is truncated",
		"VERSION=3\nformat=print\ntype=btree\nmapsize=1\nHEADER=END\n":     "line 5: mdb_dump -p does not escape a backslash: dump without -p",
		"# GDBM dump file\n# End of header\n#:len=2\nYQ==\n#:len=1\n":      "line 5: the key or value before it does not have its length",
		"# GDBM dump file\n# End of header\n#:len=1\nYWFhYWFhYWE=\n":       "line 4: the key or value is longer than its length",
		"# GDBM dump file\n# End of header\n#:len=99999999\n":              "line 3: it is not the length of a key or a value",
		"# GDBM dump file\n# End of header\n#:count=1\n":                   "line 3: the dump has 0 records, and not the number of this line",
		"# GDBM dump file\n# End of header\n#:count=0\n#\n":                "line 4: the dump has no end",
		"# GDBM dump file\n# End of header\n#:count=0\n# End of data\nx\n": "line 5: something follows the end of the dump",
		strings.Repeat("x", 70000) + "\n":                                  "line 1: it is longer than 65538 bytes",
	} {
		if got, err := read(strings.NewReader(dump)); err == nil || err.Error() != want {
			t.Errorf("%.60q: %q, %v, want %s", dump, got, err, want)
		}
	}
	stop := errors.New("stop")
	if err := sasldb.Read(strings.NewReader(header+" a\\00b\\00c\n d\nDATA=END\n"), func(sasldb.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of the function became %v", err)
	}
}

// A dump without an end does not take the memory of its reader.
func TestEndless(t *testing.T) {
	record := []byte(" 61006200\n 63\n")
	endless := io.MultiReader(strings.NewReader("VERSION=3\nformat=bytevalue\n"), repeat(bytes.Repeat([]byte("x=y\n"), 1000)))
	if _, err := read(endless); err == nil || !strings.HasSuffix(err.Error(), "the dump is larger than 67108864 bytes") {
		t.Errorf("%v, record %q", err, record)
	}
}

// repeat is a reader that does not end.
type repeat []byte

func (r repeat) Read(p []byte) (int, error) { return copy(p, r), nil }

// The first bytes of databases that saslpasswd2, GDBM and LMDB have made on amd64.
func TestRecognise(t *testing.T) {
	for head, want := range map[string]string{
		"AAAAAAEAAAAAAAAAYRUGAAkAAAA=": "db5.3_dump /etc/sasldb2",
		"z5pXEwAQAAAAEAAAAAAAAAAQAAA=": "gdbm_dump /etc/sasldb2",
		"AAAAAAAAAAAAAAgAAAAAAN7A774=": "mdb_dump -n /etc/sasldb2",
	} {
		b, err := base64.StdEncoding.DecodeString(head)
		if err != nil {
			t.Fatal(err)
		}
		f := sasldb.Recognise(b)
		if f == nil || strings.Join(f.Command(f.Tools[0], "/etc/sasldb2"), " ") != want {
			t.Errorf("%s is %+v, want %s", head, f, want)
		}
		if f := sasldb.Recognise(b[:sasldb.MagicSize-1]); f != nil {
			t.Errorf("%d bytes are %+v", sasldb.MagicSize-1, f)
		}
		if _, err := read(bytes.NewReader(b)); !errors.Is(err, sasldb.ErrDatabase) {
			t.Errorf("%s as a dump: %v", head, err)
		}
	}
	if f := sasldb.Recognise([]byte(fmt.Sprintf("%-20s", "VERSION=3"))); f != nil {
		t.Errorf("a dump is %+v", f)
	}
}
