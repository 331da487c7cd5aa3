package attestation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"aead.dev/minisign"
)

// SecretKey signs lists.
type SecretKey = minisign.PrivateKey

// CreateSecretKey makes a key pair, and writes the secret key to a new file that only this user can read. It is not
// encrypted, because nobody is there at night to type a password.
func CreateSecretKey(path string) (minisign.PublicKey, error) {
	public, secret, err := minisign.GenerateKey(nil)
	if err != nil {
		return public, err
	}
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

// ReadSecretKey reads a key of minisign that is not encrypted. It refuses a file that others can read, or that the group
// can change.
func ReadSecretKey(path string) (minisign.PrivateKey, error) {
	var k minisign.PrivateKey
	info, err := os.Stat(path)
	if err != nil {
		return k, err
	}
	if err := CheckMode(path, info); err != nil {
		return k, err
	}
	text, err := os.ReadFile(path)
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

// CheckMode returns an error if others than the owner of a secret key, and readers of its group, have access to it.
func CheckMode(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return fmt.Errorf("%s has mode %04o: remove all access for others and write access for the group (chmod 600)", path, mode)
	}
	return nil
}

// Public returns the public key of a secret key.
func Public(k minisign.PrivateKey) minisign.PublicKey { return k.Public().(minisign.PublicKey) }
