package imapconf

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// DefaultPath is the file that Cyrus reads without -C.
const DefaultPath = "/etc/imapd.conf"

// Load reads the configuration at path for a service: the value of CYRUS_SERVICE, or a tool's name.
// <service>_<option> overrides <option>. If the environment has CYRUS_PREFIX, each file is searched
// below that directory first.
//
// The error joins all faults, each an *Error.
func Load(path, service string) (*File, error) {
	s := newScanner(opener(os.Getenv("CYRUS_PREFIX")))
	s.file(path, Origin{})
	return build(s, path, service)
}

// Parse is Load for text in memory. Includes are errors.
func Parse(name, text, service string) (*File, error) {
	s := newScanner(nil)
	s.open = memory(name, text)
	s.file(name, Origin{})
	return build(s, name, service)
}

func build(s *scanner, path, service string) (*File, error) {
	f := &File{
		path:    path,
		service: strings.ToLower(service),
		options: make(map[string]*Option),
		known:   make(map[string]setting),
		other:   make(map[string]setting),
	}
	for _, o := range Options() {
		f.options[o.Name] = &o
	}
	errs := s.errs
	service0 := make(map[string]setting) // <service>_<option>
	for _, e := range s.entries {
		if err := f.add(e, service0); err != nil {
			errs = append(errs, err)
		}
	}
	for name, set := range service0 {
		f.known[name] = set
	}
	if len(s.entries) > 0 || len(errs) == 0 { // an unreadable file needs no further errors
		errs = append(errs, f.finish()...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return f, nil
}

// add adds an entry. Like Cyrus it checks the service's own form first, and treats a name that is
// not an option then as a plain or unknown one (config_read_file).
func (f *File) add(e entry, forService map[string]setting) error {
	into, name := f.other, e.Key
	if short, ok := strings.CutPrefix(e.Key, f.service+"_"); ok && f.service != "" && f.isKnown(short) {
		into, name = forService, short
	} else if f.isKnown(e.Key) {
		into = f.known
	}
	if first, dup := into[name]; dup {
		return &Error{Origin: e.Origin, Problem: fmt.Sprintf("is set a second time; first at %s", first.Origin)}
	}
	set := setting{Origin: e.Origin, text: e.value}
	var err error
	if o := f.options[name]; f.isKnown(name) {
		if set.n, err = o.parse(e.value); err != nil {
			err = &Error{Origin: e.Origin, Value: e.value, Problem: err.Error(), Allowed: o.Allowed()}
		}
	}
	into[name] = set
	return err
}

func (f *File) isKnown(name string) bool {
	o := f.options[name]
	return o != nil && !o.Family
}

// finish applies defaults, old names and {configdirectory}.
func (f *File) finish() []error {
	var errs []error
	dir, ok := f.known["configdirectory"]
	switch {
	case !ok:
		errs = append(errs, &Error{Origin: Origin{Key: "configdirectory"}, Problem: "is not set in " + f.path})
	case dir.text[0] != '/' || dir.text == "/":
		errs = append(errs, &Error{Origin: dir.Origin, Value: dir.text, Problem: "wrong directory", Allowed: "an absolute path other than /"})
	}
	for _, o := range Options() {
		if old, set := f.known[o.Name]; set && o.ReplacedBy != "" {
			f.replace(o, old)
		}
	}
	for _, o := range f.options {
		if set, ok := f.known[o.Name]; ok && o.Type == String {
			set.text = replaceDir(set.text, dir.text)
			f.known[o.Name] = set
		}
	}
	f.misspelt()
	return errs
}

// replace uses a deprecated option for the new one if that is not set.
func (f *File) replace(o Option, old setting) {
	f.warnings = append(f.warnings, fmt.Sprintf("%s: %s is an old name of %s", old.Origin, o.Name, o.ReplacedBy))
	if _, set := f.known[o.ReplacedBy]; !set {
		f.known[o.ReplacedBy] = old
	}
}

// replaceDir replaces a leading {configdirectory}, in any case (config_read), by dir.
func replaceDir(text, dir string) string {
	const name = "{configdirectory}"
	if len(text) >= len(name) && strings.EqualFold(text[:len(name)], name) {
		return dir + text[len(name):]
	}
	return text
}
