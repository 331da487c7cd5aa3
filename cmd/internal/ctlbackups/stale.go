package ctlbackups

import (
	"strings"
)

// hours accepts the value of -t attached or as the next word, like Cyrus's ctl_backups. For
// optional values pflag accepts only --stale=48. A userid of only digits must come before -t,
// or after --.
func hours(argv []string) []string {
	var out []string
	for i := 0; i < len(argv); i++ {
		a := argv[i]
		if a == "--" {
			return append(out, argv[i:]...)
		}
		before, attached, ok := shortStale(a)
		switch {
		case !ok && a != "--stale":
			out = append(out, a)
			if takesNext(a) && i+1 < len(argv) {
				i++
				out = append(out, argv[i])
			}
			continue
		case before != "":
			out = append(out, "-"+before)
		}
		if attached == "" && i+1 < len(argv) && isNumber(argv[i+1]) {
			i++
			attached = argv[i]
		}
		if attached == "" {
			out = append(out, "--stale")
		} else {
			out = append(out, "--stale="+attached)
		}
	}
	return out
}

// shortStale splits a word with -t into the options before it and its value.
func shortStale(a string) (before, attached string, ok bool) {
	if !strings.HasPrefix(a, "-") || strings.HasPrefix(a, "--") {
		return "", "", false
	}
	before, attached, ok = strings.Cut(a[1:], "t")
	// The rest of the word after C or x is a value.
	if !ok || strings.ContainsAny(before, "Cx") || attached != "" && !isNumber(attached) {
		return "", "", false
	}
	return before, attached, true
}

// takesNext reports whether the next word is this option's value.
func takesNext(a string) bool {
	switch a {
	case "--config", "--execute", "--completion", "--reason", "--until", "--for", "--limit-requests", "--accept-missing", "--max-age":
		return true
	}
	return len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.IndexAny(a, "Cx") == len(a)-1
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
