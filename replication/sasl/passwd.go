package sasl

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/xdg-go/stringprep"
)

// SetPassword sets the password of a user, whose name is canonical, in the credentials file
// at path. It creates the file if needed. It replaces the whole file under a lock, so that
// concurrent writers do not lose each other's change.
func SetPassword(path, user, password string) error {
	if err := CheckNewPassword(password); err != nil {
		return err
	}
	keys, err := newUser(password)
	if err != nil {
		return err
	}
	return changeCredentials(path, func(f *credentialFile) (bool, error) {
		f.Users[user] = keys
		return true, nil
	})
}

// RemoveUser removes a user from the credentials file and reports whether the user existed.
func RemoveUser(path, user string) (found bool, err error) {
	err = changeCredentials(path, func(f *credentialFile) (bool, error) {
		_, found = f.Users[user]
		delete(f.Users, user)
		return found, nil
	})
	return found, err
}

// Users lists the users in the credentials file, sorted. Without a file it returns none.
func Users(path string) ([]string, error) {
	f, _, err := readCredentials(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(f.Users)), nil
}

// CheckNewPassword refuses passwords that clients encode differently: RFC 5802 normalises
// passwords by SASLprep, but libsasl's client does not.
func CheckNewPassword(password string) error {
	prepared, err := stringprep.SASLprep.Prepare(password)
	switch {
	case password == "":
		return errors.New("password is empty")
	case err != nil || prepared != password:
		return errors.New("password contains characters that programs encode differently (control characters, or letters that SASLprep changes)")
	}
	return nil
}

// changeCredentials reads the file, calls change, and writes the file if change returns
// true.
func changeCredentials(path string, change func(*credentialFile) (bool, error)) (err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("change credentials: %w", err)
	}
	// Lock the directory: a lock on the file itself would be lost when the file is
	// replaced. Closing the descriptor releases it.
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("change credentials: lock %s: %w", dir.Name(), err)
	}
	f, old, err := readCredentials(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, old, err = newCredentialFile(), nil, nil
	}
	if err != nil {
		return err
	}
	if changed, err := change(f); err != nil || !changed {
		return err
	}
	if err := writeCredentials(path, f, dir, old); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return nil
}

func writeCredentials(path string, f *credentialFile, dir *os.File, old fs.FileInfo) error {
	data, err := f.encode()
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir.Name(), ".credentials-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // fails harmlessly after the rename
	_, err = tmp.Write(data)
	if err == nil && os.Geteuid() == 0 {
		err = giveTo(tmp, dir, old)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return dir.Sync()
}

// giveTo gives a file that root writes to its previous owner, or else to the owner of the
// directory, because the server does not run as root.
func giveTo(tmp, dir *os.File, old fs.FileInfo) error {
	if old == nil {
		var err error
		if old, err = dir.Stat(); err != nil {
			return err
		}
	}
	if st, ok := old.Sys().(*syscall.Stat_t); ok {
		return tmp.Chown(int(st.Uid), int(st.Gid))
	}
	return nil
}
