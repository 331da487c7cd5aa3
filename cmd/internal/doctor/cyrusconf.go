package doctor

import (
	"path/filepath"
	"strings"
)

// entry is a line of a section of cyrus.conf(5).
type entry struct {
	section, name string
	line          int
	value         map[string]string // by keyword
	bad           string            // a fault of its syntax
}

// program returns the path of the program that the entry starts, and its arguments.
func (e entry) program() (path string, args []string) {
	words := strings.Fields(e.value["cmd"])
	if len(words) == 0 {
		return "", nil
	}
	return words[0], words[1:]
}

// parseCyrusConf reads the entries of all sections (master/masterconf.c: a section NAME { … }, with
// an entry in each line: a name, then keyword=value or keyword="value").
func parseCyrusConf(text string) (out []entry) {
	section := ""
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case section == "":
			name, rest, _ := strings.Cut(line, "{")
			if section = strings.TrimSpace(name); seen[section] { // master reads only the first (masterconf.c)
				out = append(out, entry{section: section, name: "{", line: i + 1, bad: "this is the second section " + section + ": master ignores it"})
			}
			seen[section] = true
			if strings.TrimSpace(rest) == "}" {
				section = ""
			}
		case line == "}":
			section = ""
		default:
			out = append(out, parseEntry(section, line, i+1))
		}
	}
	return out
}

func parseEntry(section, line string, number int) entry {
	name, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	e := entry{section: section, name: name, line: number, value: map[string]string{}}
	for rest = strings.TrimSpace(rest); rest != "" && rest[0] != '#'; rest = strings.TrimSpace(rest) {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			e.bad = "no = after " + key
			return e
		}
		value := ""
		if strings.HasPrefix(after, `"`) {
			if value, rest, ok = strings.Cut(after[1:], `"`); !ok {
				e.bad = "the quotation of " + key + " has no end"
				return e
			}
		} else {
			value, rest, _ = strings.Cut(after, " ")
		}
		e.value[strings.TrimSpace(key)] = value
	}
	return e
}

// daemons returns the entries of SERVICES that start backupd.
func daemons(all []entry) (out []entry) {
	for _, e := range all {
		if path, _ := e.program(); e.section == "SERVICES" && filepath.Base(path) == "backupd" {
			out = append(out, e)
		}
	}
	return out
}
