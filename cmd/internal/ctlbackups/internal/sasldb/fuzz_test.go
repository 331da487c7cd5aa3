package sasldb_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/ctlbackups/internal/sasldb"
	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// faults are all errors of a dump. None has a byte of it.
var faults = regexp.MustCompile(`^(the dump is empty|it is a database, and not its dump \((Berkeley DB|GDBM|LMDB)\)|line \d+: (` +
	`this is not a dump of db_dump, mdb_dump or gdbm_dump|this is the binary format of gdbm_dump; dump with -H ascii|` +
	`the key is not a user, a realm and a property: this is not a sasldb|it is longer than \d+ bytes|the dump is larger than \d+ bytes|` +
	`the dump is truncated|the header has no end|the version of the dump is neither 2 nor 3|the format is neither bytevalue nor print|` +
	`a database of this type has no keys: this is not a sasldb|the header has no format|mdb_dump -p does not escape a backslash: dump without -p|` +
	`it is not a key or a value of the format in the header|it is not the length of a key or a value|` +
	`the dump has \d+ records, and not the number of this line|the key or value is longer than its length|` +
	`the key or value before it does not have its length|the dump has no end|something follows the end of the dump))$`)

// FuzzRead reads a dump. What it accepts is written again, in both forms, and read as the same. An error has no password.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"berkeley.txt", "berkeley-p.txt", "lmdb.txt", "gdbm.txt"} {
		dump, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(dump)
	}
	f.Add([]byte(header + " a\\00b\\00c\n \\\\\nDATA=END\n" + header + "DATA=END\n"))
	f.Add([]byte("# GDBM dump file\n# End of header\n#:len=65538\n"))
	f.Fuzz(func(t *testing.T, dump []byte) {
		var got []sasldb.Entry
		var err error
		fuzztest.Within(t, 128<<10+32*int64(len(dump))+256*int64(bytes.Count(dump, []byte("\n"))), func() {
			err = sasldb.Read(bytes.NewReader(dump), func(e sasldb.Entry) error {
				got = append(got, e)
				return nil
			})
		})
		if err != nil {
			if !faults.MatchString(err.Error()) {
				t.Fatalf("an unknown error: %v", err)
			}
			return
		}
		for _, form := range []func([]sasldb.Entry) []byte{berkeley, gdbm} {
			var again []sasldb.Entry
			text := form(got)
			if err := sasldb.Read(bytes.NewReader(text), func(e sasldb.Entry) error {
				again = append(again, e)
				return nil
			}); err != nil || !reflect.DeepEqual(again, got) {
				t.Fatalf("%s is read as %q, not %q: %v", text, again, got, err)
			}
		}
	})
}

func key(e sasldb.Entry) string { return e.User + "\x00" + e.Realm + "\x00" + e.Property }

func berkeley(entries []sasldb.Entry) []byte {
	var b bytes.Buffer
	b.WriteString("VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n")
	for _, e := range entries {
		fmt.Fprintf(&b, " %x\n %x\n", key(e), e.Value)
	}
	b.WriteString("DATA=END\n")
	return b.Bytes()
}

func gdbm(entries []sasldb.Entry) []byte {
	var b bytes.Buffer
	b.WriteString("# GDBM dump file created by a test\n# End of header\n")
	for _, e := range entries {
		for _, datum := range [][]byte{[]byte(key(e)), e.Value} {
			fmt.Fprintf(&b, "#:len=%d\n%s\n", len(datum), base64.StdEncoding.EncodeToString(datum))
		}
	}
	fmt.Fprintf(&b, "#:count=%d\n# End of data\n", len(entries))
	return b.Bytes()
}
