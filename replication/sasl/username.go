package sasl

import (
	"fmt"
	"strings"
)

// maxUserName is the maximum length of a name in Cyrus (lib/auth_unix.c: mycanonifyid).
const maxUserName = 80

// UserNames are the rules for canonical names (imap/global.c: canonify_userid;
// lib/auth_unix.c: mycanonifyid).
type UserNames struct {
	// ToLower: letters become lower case (option username_tolower).
	ToLower bool
	// Domains: user@domain and user%domain have a domain (virtdomains is not off).
	Domains bool
	// DefaultDomain is removed from names if Domains is set (defaultdomain).
	DefaultDomain string
}

// Canonical returns the name in the form that is compared and stored. The error states why
// a name is invalid. Names for groups of people, such as "anyone", are refused too.
func (u UserNames) Canonical(name string) (string, error) {
	if u.Domains {
		name = u.domain(name)
	}
	if u.ToLower {
		name = lower(name)
	}
	switch {
	case name == "":
		return "", fmt.Errorf("user name is empty")
	case len(name) > maxUserName:
		return "", fmt.Errorf("user name of %d bytes", len(name))
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= 0x7f || strings.IndexByte("%&*/:?", c) >= 0 {
			return "", fmt.Errorf("user name %q: %q is not allowed", name, c)
		}
	}
	local, _, _ := strings.Cut(name, "@")
	for _, many := range []string{"anonymous", "anyone", "anybody"} {
		if strings.EqualFold(local, many) {
			return "", fmt.Errorf("user name %q means everybody", name)
		}
	}
	return name, nil
}

// domain turns the last % into @ if the name has no @, and removes the default domain.
func (u UserNames) domain(name string) string {
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		at = strings.LastIndexByte(name, '%')
	}
	switch {
	case at < 0:
		return name
	case u.DefaultDomain != "" && strings.EqualFold(name[at+1:], u.DefaultDomain):
		return name[:at]
	default:
		return name[:at] + "@" + name[at+1:]
	}
}

// lower changes only ASCII letters, like C's tolower in the C locale.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
