package imapconf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// misspelt warns about unknown keys that look like options of this program. They are no errors,
// because Cyrus allows unknown options and they may belong to another program.
func (f *File) misspelt() {
	for _, key := range slices.Sorted(maps.Keys(f.other)) {
		name := key
		if f.service != "" {
			name = strings.TrimPrefix(key, f.service+"_")
		}
		ours := strings.HasPrefix(name, "backup") && !strings.HasPrefix(name, "backupd_")
		// sync_client's options of a channel "backup", on a host that is mail host and backup host
		channel := strings.HasPrefix(name, "backup_sync_")
		if f.ofFamily(name) || channel || name != key && !ours {
			continue
		}
		likely, edits := f.likely(name)
		switch {
		case edits <= max(2, len(name)/5):
			f.warnings = append(f.warnings, fmt.Sprintf("%s: unknown option %s, did you mean %s?", f.other[key].Origin, key, likely))
		case ours:
			f.warnings = append(f.warnings, fmt.Sprintf("%s: unknown option %s", f.other[key].Origin, key))
		}
	}
}

// ofFamily reports whether a name belongs to a family of options.
func (f *File) ofFamily(name string) bool {
	for _, o := range f.options {
		if o.Family && len(name) > len(o.Name) && strings.HasPrefix(name, o.Name) {
			return true
		}
	}
	return false
}

// likely returns our option that is nearest to name, and its edit distance.
func (f *File) likely(name string) (option string, edits int) {
	edits = len(name) + 1
	for _, o := range Options() {
		if !strings.HasPrefix(o.Name, "backup") {
			continue
		}
		candidate := o.Name
		if o.Family { // the rest is the NAME
			candidate += name[strings.LastIndexAny(name, "-_")+1:]
		}
		if n := distance(name, candidate); n < edits {
			option, edits = candidate, n
		}
	}
	return option, edits
}

// distance is the Levenshtein distance: the least number of letters to insert, delete and replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
