package attestation

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// owned is a file of another user.
type owned struct {
	fs.FileInfo
	uid uint32
}

func (o owned) Sys() any { return &syscall.Stat_t{Uid: o.uid} }

// A secret key belongs to the user that uses it, or to root: its owner can change and read it, whatever its mode is.
func TestOwnerOfSecretKey(t *testing.T) {
	name := filepath.Join(t.TempDir(), "seal.key")
	if _, err := CreateSecretKey(name); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		owner uint32
		user  int
		good  bool
	}{{0, 0, true}, {0, 8, true}, {8, 8, true}, {8, 0, false}, {9, 8, false}} {
		err := CheckFile(name, owned{info, c.owner}, c.user)
		if (err == nil) != c.good || err != nil && !strings.Contains(err.Error(), "belongs to the user with the id") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := ReadSecretKey(filepath.Dir(name)); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a directory: %v", err)
	}
}

// A former key has the number of its last list after a colon.
func TestFormerKey(t *testing.T) {
	w := newWorld(t)
	text := Public(w.key).String()
	for suffix, last := range map[string]uint64{"": 0, ":1": 1, ":365": 365} {
		if k, err := ParsePublicKey(text + suffix); err != nil || k.Last != last || !k.Equal(Public(w.key).PublicKey) {
			t.Errorf("%q: %+v, %v", suffix, k, err)
		}
	}
	for _, suffix := range []string{":", ":0", ":x", ":-1", ":1:2", ":99999999999999999"} {
		if k, err := ParsePublicKey(text + suffix); err == nil {
			t.Errorf("%q: %+v", suffix, k)
		}
	}
}
