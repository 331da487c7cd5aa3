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

// SetPassword gives a user, whose name is canonical, a password in the credentials file
// at path, which is made if need be. The file is replaced as a whole; two who write at
// once do not lose each other's change.
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

// RemoveUser removes a user from the credentials file, and tells whether it was there.
func RemoveUser(path, user string) (found bool, err error) {
	err = changeCredentials(path, func(f *credentialFile) (bool, error) {
		_, found = f.Users[user]
		delete(f.Users, user)
		return found, nil
	})
	return found, err
}

// Users lists the users in the credentials file, sorted. No file: no users.
func Users(path string) ([]string, error) {
	f, _, err := readCredentials(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(f.Users)), nil
}

// CheckNewPassword refuses what clients would not agree about: RFC 5802 has passwords
// normalised by SASLprep, libsasl's client does not do it.
func CheckNewPassword(password string) error {
	prepared, err := stringprep.SASLprep.Prepare(password)
	switch {
	case password == "":
		return errors.New("password is empty")
	case err != nil || prepared != password:
		return errors.New("password has characters that programs write in different ways (control characters, or letters that SASLprep changes)")
	}
	return nil
}

// changeCredentials reads the file, lets change work on it, and writes it if change says so.
func changeCredentials(path string, change func(*credentialFile) (bool, error)) (err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("change credentials: %w", err)
	}
	// The lock goes with the descriptor; a lock on the file itself would be lost when
	// it is replaced.
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
	defer os.Remove(tmp.Name()) // after the rename there is nothing to remove
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

// giveTo lets a file that root writes belong to whom it belonged before, or else to the
// owner of the directory: the server does not run as root.
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
