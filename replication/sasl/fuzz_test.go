package sasl

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// FuzzCredentials reads the file of credentials. Accepted bytes are written and read again, and cannot make a login
// endless.
func FuzzCredentials(f *testing.F) {
	file := newCredentialFile()
	user, err := newUser("secret")
	if err != nil {
		f.Fatal(err)
	}
	file.Users["anne"] = user
	b, err := file.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 9`), 1))
	f.Add(append(bytes.Clone(b), b...))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Within(t, 64<<10+256*int64(len(b)), func() {
			file, err := decodeCredentials(b)
			if err != nil {
				return
			}
			for name, u := range file.Users {
				if n := max(u.SHA1.Iterations, u.SHA256.Iterations); n > maxIterations {
					t.Errorf("%q: %d iterations", name, n)
				}
			}
			text, err := file.encode()
			if err != nil {
				t.Fatal(err)
			}
			again, err := decodeCredentials(text)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if second, err := again.encode(); err != nil || !bytes.Equal(text, second) {
				t.Fatalf("%s became %s, %v", text, second, err)
			}
		})
	})
}

// FuzzAnswer reads what saslauthd answers.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x00\x02OK"))
	f.Add([]byte("\x00\x02NO"))
	f.Add([]byte("\xff\xffOK"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Within(t, 16<<10, func() {
			answer, err := exchange(struct {
				io.Reader
				io.Writer
			}{bytes.NewReader(b), io.Discard}, []byte("question"))
			if err == nil && (len(answer) != int(binary.BigEndian.Uint16(b)) || len(answer) > maxAnswer) {
				t.Errorf("%q was read as %q", b, answer)
			}
		})
	})
}

// FuzzUserNames makes a name canonical. A canonical name stays the same.
func FuzzUserNames(f *testing.F) {
	for _, s := range []string{"anne", "Anne@Example.com", "anne%example.com", "@", "a@b@c", "ü", "a\x00b"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, name string, domains bool) {
		fuzztest.Within(t, 32<<10+256*int64(len(name)), func() {
			u := UserNames{Domains: domains, DefaultDomain: "example.com"}
			once, err := u.Canonical(name)
			if err != nil {
				return
			}
			// A name with two domains loses one.
			if twice, err := u.Canonical(once); (err != nil || twice != once) && strings.Count(name, "@")+strings.Count(name, "%") < 2 {
				t.Errorf("%q is %q, which is %q, %v", name, once, twice, err)
			}
			if strings.ContainsAny(once, "\x00\r\n/") {
				t.Errorf("%q is %q", name, once)
			}
		})
	})
}
