package ctlbackups

import (
	"strings"
)

// hours lets -t have its value attached or behind it, as in Cyrus's ctl_backups; pflag
// knows only --stale=48 where a value may be left out. A userid of digits alone stands
// before -t, or behind --.
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

// shortStale takes -t apart: the options in one word with it, and its value.
func shortStale(a string) (before, attached string, ok bool) {
	if !strings.HasPrefix(a, "-") || strings.HasPrefix(a, "--") {
		return "", "", false
	}
	before, attached, ok = strings.Cut(a[1:], "t")
	// What stands behind -C or -x is its value.
	if !ok || strings.ContainsAny(before, "Cx") || attached != "" && !isNumber(attached) {
		return "", "", false
	}
	return before, attached, true
}

// takesNext says that the next word is this option's value.
func takesNext(a string) bool {
	switch a {
	case "--config", "--execute", "--completion":
		return true
	}
	return len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.IndexAny(a, "Cx") == len(a)-1
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
