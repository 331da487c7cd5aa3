package sasl

import (
	"errors"
	"os/user"
	"slices"
	"strings"
)

// Admins is the option admins: user names and group:NAME entries.
type Admins struct {
	// Words are the entries. "anyone" means everybody, as in Cyrus (lib/auth_unix.c:
	// mymemberof).
	Words []string
	// ToLower compares user names in lower case (username_tolower).
	ToLower bool
	// Groups returns the names of a user's groups. nil: users are in no groups
	// (unix_group_enable: no). See SystemGroups.
	Groups func(user string) ([]string, error)
}

// Contains reports whether the user, whose name is canonical, is an admin. The error comes
// from Groups, which is called only if it can matter.
func (a Admins) Contains(user string) (bool, error) {
	var wanted []string
	for _, word := range a.Words {
		group, isGroup := strings.CutPrefix(word, "group:")
		switch {
		case isGroup:
			wanted = append(wanted, group)
		case word == "anyone", word == user, a.ToLower && lower(word) == user:
			return true, nil
		}
	}
	if len(wanted) == 0 || a.Groups == nil {
		return false, nil
	}
	groups, err := a.Groups(user)
	for _, g := range groups {
		if slices.Contains(wanted, g) {
			return true, nil
		}
	}
	return false, err
}

// noGroup is the primary group of a user without an account.
const noGroup = "4294967295"

// SystemGroups returns the user's groups in the operating system. No account is needed, as
// with getgrouplist(3), which Cyrus uses. Without cgo only /etc/group is read.
func SystemGroups(name string) ([]string, error) {
	account, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		account, err = &user.User{Username: name, Gid: noGroup}, nil
	}
	if err != nil {
		return nil, err
	}
	ids, err := account.GroupIds()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, id := range ids {
		// A group without a name cannot be listed in admins.
		if g, err := user.LookupGroupId(id); err == nil && id != noGroup {
			names = append(names, g.Name)
		}
	}
	return names, nil
}
