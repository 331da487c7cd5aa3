package sasl

import (
	"crypto/subtle"
	"fmt"
	"maps"
	"slices"
)

// Outcome is what SetPasswords has done, or would do, for a user.
type Outcome int

// The outcomes.
const (
	Added     Outcome = iota // the user had no password
	Replaced                 // the user had another password
	Unchanged                // the user had this password
	Kept                     // the user has another password, which stays
)

// SetPasswords sets the passwords of users, whose names are canonical, in the credentials file at path. The file
// changes once, for all of them or for none. A user that has another password keeps it, unless replace is set. With
// dry, nothing changes.
func SetPasswords(path string, passwords map[string]string, replace, dry bool) (map[string]Outcome, error) {
	outcomes := make(map[string]Outcome)
	err := changeCredentials(path, func(f *credentialFile) (bool, error) {
		changed := false
		for _, user := range slices.Sorted(maps.Keys(passwords)) {
			done, err := f.setPassword(user, passwords[user], replace)
			if err != nil {
				return false, fmt.Errorf("user %q: %w", user, err)
			}
			outcomes[user] = done
			changed = changed || done == Added || done == Replaced
		}
		return changed && !dry, nil
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

func (f *credentialFile) setPassword(user, password string, replace bool) (Outcome, error) {
	if err := CheckNewPassword(password); err != nil {
		return 0, err
	}
	done := Added
	if held, found := f.Users[user]; found {
		same, err := held.SHA256.match(password)
		switch {
		case err != nil:
			return 0, err
		case same:
			return Unchanged, nil
		case !replace:
			return Kept, nil
		}
		done = Replaced
	}
	keys, err := newUser(password)
	if err == nil {
		f.Users[user] = keys
	}
	return done, err
}

// match reports whether the keys, of SCRAM-SHA-256, are those of the password.
func (k scramKeys) match(password string) (bool, error) {
	got, err := derive(ScramSHA256, password, k.Salt, k.Iterations)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got.StoredKey, k.StoredKey) == 1, nil
}
