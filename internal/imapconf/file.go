package imapconf

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// File is a loaded configuration; it never changes. A getter panics if the table does not have the
// option, or has it with another type. That is a bug in the caller, which any test of it finds.
type File struct {
	path     string
	service  string
	options  map[string]*Option
	known    map[string]setting // by option; the service's own value if there is one
	other    map[string]setting // by key as written
	warnings []string
}

type setting struct {
	Origin
	text string
	n    int64
}

// Path returns the path of the file.
func (f *File) Path() string { return f.path }

// Service returns the service that the file was loaded for.
func (f *File) Service() string { return f.service }

// Warnings returns remarks for the log, such as the use of old names.
func (f *File) Warnings() []string { return slices.Clone(f.warnings) }

// String returns the value of a String option; "" if it has none.
func (f *File) String(option string) string {
	o := f.option(option, String)
	if set, ok := f.known[option]; ok {
		return set.text
	}
	if rest, ok := strings.CutPrefix(o.Default, "{temp_path}"); ok {
		return f.String("temp_path") + rest
	}
	return replaceDir(o.Default, f.known["configdirectory"].text)
}

// Words returns the value of a String option split at white space.
func (f *File) Words(option string) []string { return strings.Fields(f.String(option)) }

// Int returns the value of an Int option.
func (f *File) Int(option string) int { return int(f.number(option, Int)) }

// Switch returns the value of a Switch option.
func (f *File) Switch(option string) bool { return f.number(option, Switch) != 0 }

// Duration returns the value of a Duration option.
func (f *File) Duration(option string) time.Duration {
	return time.Duration(f.number(option, Duration)) * time.Second
}

// Size returns the value of a Size option in bytes.
func (f *File) Size(option string) int64 { return f.number(option, Size) }

// Word returns the value of an Enum or List option, spelled as in Option.Words.
func (f *File) Word(option string) string {
	o := f.option(option, Enum, List)
	return o.Words[f.number(option, Enum, List)]
}

func (f *File) number(option string, types ...Type) int64 {
	o := f.option(option, types...)
	if set, ok := f.known[option]; ok {
		return set.n
	}
	if o.Default == "" {
		return 0
	}
	n, err := o.parse(o.Default)
	if err != nil {
		panic(fmt.Sprintf("imapconf: default of %s: %v", option, err))
	}
	return n
}

func (f *File) option(name string, types ...Type) *Option {
	o := f.options[name]
	if o == nil || o.Family || !slices.Contains(types, o.Type) {
		panic(fmt.Sprintf("imapconf: no option %s of type %v", name, types))
	}
	return o
}

// IsSet reports whether the file sets the option, under its own or an old name.
func (f *File) IsSet(option string) bool { return f.Origin(option).File != "" }

// Origin returns where the value of an option or of an unknown key was set.
func (f *File) Origin(option string) Origin {
	if set, ok := f.lookup(option); ok {
		return set.Origin
	}
	return Origin{}
}

// Lookup returns the text of any key in the file: <service>_<key> if it exists, otherwise <key>
// (config_getoverflowstring). It does not use defaults.
func (f *File) Lookup(key string) (string, bool) {
	set, ok := f.lookup(key)
	return set.text, ok
}

func (f *File) lookup(key string) (setting, bool) {
	key = strings.ToLower(key)
	if set, ok := f.known[key]; ok {
		return set, true
	}
	if set, ok := f.other[f.service+"_"+key]; ok && f.service != "" {
		return set, true
	}
	set, ok := f.other[key]
	return set, ok
}

// Keys returns the unknown keys that begin with prefix, complete and sorted:
// Keys("backuppartition-") are the backup partitions.
func (f *File) Keys(prefix string) []string {
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(f.other)) {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	return keys
}

// Channel returns a String option of a replication channel: <channel>_<option> if the file has it,
// otherwise the plain option (imap/sync_support.c: sync_get_config).
func (f *File) Channel(channel, option string) string {
	if set, ok := f.other[strings.ToLower(channel+"_"+option)]; ok && channel != "" {
		return set.text
	}
	return f.String(option)
}

// ServerName returns the option servername, or the host's name if it is not set.
func (f *File) ServerName() (string, error) {
	if name := f.String("servername"); name != "" {
		return name, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", f.Errorf("servername", "is not set, and the host has no name: %v", err)
	}
	return name, nil
}
