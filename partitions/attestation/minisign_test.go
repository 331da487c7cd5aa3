package attestation

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Anybody can check a list with minisign(1) and the public key: it accepts what Seal has put, and nothing else. minisign
// also makes keys that seal can use.
func TestMinisign(t *testing.T) {
	if _, err := exec.LookPath("minisign"); err != nil && testing.Short() {
		t.Skip("minisign is not installed")
	}
	dir := t.TempDir()
	secret, public := filepath.Join(dir, "seal.key"), filepath.Join(dir, "seal.pub")
	run := func(ok bool, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "minisign", args...).CombinedOutput()
		if (err == nil) != ok {
			t.Fatalf("minisign %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run(true, "-G", "-W", "-p", public, "-s", secret)
	w := newWorld(t, "anne", "bob")
	var err error
	if w.key, err = ReadSecretKey(secret); err != nil {
		t.Fatal(err)
	}
	r := w.seal()
	list, signature := filepath.Join(dir, "list"), filepath.Join(dir, "list.minisig")
	body := w.store.Bytes(ListKey(1, r.SHA256))
	write(t, list, body)
	write(t, signature, r.Signature)
	if out := run(true, "-V", "-H", "-p", public, "-m", list); !strings.Contains(out, "Trusted comment: backupd list version=1 number=1 sha256="+r.SHA256) {
		t.Errorf("%s", out)
	}
	body[len(body)/2] ^= 1
	write(t, list, body)
	run(false, "-V", "-p", public, "-m", list)

	// minisign(1) accepts our key.
	ours := filepath.Join(dir, "ours.key")
	key, err := CreateSecretKey(ours)
	if err != nil {
		t.Fatal(err)
	}
	run(true, "-S", "-W", "-s", ours, "-m", list, "-t", "any text")
	run(true, "-V", "-P", key.String(), "-m", list)
	if text, err := os.ReadFile(signature); err != nil {
		t.Fatal(err)
	} else if c, err := (PublicKeys{key}).comment(text); err == nil {
		t.Errorf("a signature of something else is a list: %v", c)
	}
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A secret key that others can read is refused, and so is one with a password. No key is overwritten.
func TestSecretKey(t *testing.T) {
	name := filepath.Join(t.TempDir(), "seal.key")
	public, err := CreateSecretKey(name)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ReadSecretKey(name)
	if err != nil || !Public(secret).Equal(public.PublicKey) {
		t.Fatal(err)
	}
	if again, err := ParsePublicKey(public.String()); err != nil || !again.Equal(public.PublicKey) {
		t.Error(err)
	}
	if _, err := CreateSecretKey(name); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("overwritten: %v", err)
	}
	for mode, want := range map[os.FileMode]string{0o640: "has mode 0640", 0o644: "has mode 0644: remove all access for the group and for others", 0o660: "has mode 0660", 0o600: ""} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSecretKey(name); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%o: %v", mode, err)
		}
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	encrypted := filepath.Join("testdata", "password.key")
	text, err := os.ReadFile(encrypted)
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{string(text): "is encrypted", "secret\n": "is not a secret key of minisign(1)"} {
		write(t, name, []byte(content))
		if _, err := ReadSecretKey(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
	if _, err := ParsePublicKey("RWQ"); err == nil {
		t.Error("a public key of three characters")
	}
}
