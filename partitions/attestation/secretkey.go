package attestation

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"aead.dev/minisign"
)

// SecretKey signs lists.
type SecretKey = minisign.PrivateKey

// CreateSecretKey makes a key pair, and writes the secret key to a new file that only this user can read. It is not
// encrypted, because nobody is there at night to type a password.
func CreateSecretKey(path string) (PublicKey, error) {
	_, secret, err := minisign.GenerateKey(nil)
	if err != nil {
		return PublicKey{}, err
	}
	public := Public(secret)
	text, err := secret.MarshalText()
	if err != nil {
		return public, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return public, fmt.Errorf("%s exists already: without it, nobody can continue its lists; move it away if you want a new key", path)
	}
	if err != nil {
		return public, err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return public, errors.Join(err, os.Remove(path))
	}
	return public, nil
}

// syncDir makes a new name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadSecretKey reads a key of minisign that is not encrypted. It refuses a file that another user than this one and root
// can read or change.
func ReadSecretKey(path string) (minisign.PrivateKey, error) {
	var k minisign.PrivateKey
	f, err := os.Open(path)
	if err != nil {
		return k, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return k, err
	}
	if err := CheckFile(path, info, os.Geteuid()); err != nil {
		return k, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return k, err
	}
	if minisign.IsEncrypted(text) {
		return k, fmt.Errorf("%s is encrypted: ctl_backups seal runs without a person; make a key without a password (ctl_backups seal --init-key, or minisign -G -W)", path)
	}
	if err := k.UnmarshalText(text); err != nil {
		return k, fmt.Errorf("%s is not a secret key of minisign(1)", path)
	}
	return k, nil
}

// maxKeyFile is more than a file with a key has.
const maxKeyFile = 64 << 10

// CheckFile returns an error if other users than this one and root have access to the file of a secret key.
func CheckFile(path string, info fs.FileInfo, user int) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o: remove all access for the group and for others (chmod 600)", path, mode)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != user {
		return fmt.Errorf("%s belongs to the user with the id %d, who can change it: it must belong to the user that runs ctl_backups seal (id %d), or to root", path, st.Uid, user)
	}
	return nil
}

// Public returns the public key of a secret key.
func Public(k minisign.PrivateKey) PublicKey {
	return PublicKey{PublicKey: k.Public().(minisign.PublicKey)}
}
