package stores

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/objstore"
)

// Locations returns the configured partitions and their locations. The error names file, line
// and option of every value that is not a location, or belongs to another partition.
func Locations(conf *imapconf.File) (names []string, at map[string]objstore.Location, err error) {
	at = map[string]objstore.Location{}
	first := map[string]string{} // by place
	var errs []error
	for _, key := range conf.Keys(prefix) {
		value, _ := conf.Lookup(key)
		l, err := objstore.ParseLocation(value)
		if err != nil {
			errs = append(errs, conf.Errorf(key, "%v", err))
			continue
		}
		if other := first[place(l)]; other != "" {
			errs = append(errs, conf.Errorf(key, "same location as %s: two partitions cannot share a location", other))
			continue
		}
		first[place(l)] = key
		name := strings.TrimPrefix(key, prefix)
		names = append(names, name)
		at[name] = l
	}
	if len(names) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: no %sNAME is set: set the place for backups, as in %sdefault: /var/spool/backup", conf.Path(), prefix, prefix))
	}
	return names, at, errors.Join(errs...)
}

// place returns equal strings for equal locations, whatever their driver, profile or options.
// It cannot recognise all; package partitions finds the others by their equal
// repository.json.
func place(l objstore.Location) string {
	if l.Scheme == objstore.Dir {
		if real, err := filepath.EvalSymlinks(l.Path); err == nil {
			return real
		}
		return l.Path
	}
	endpoint := l.Endpoint
	if _, host, ok := strings.Cut(endpoint, "://"); ok {
		endpoint = host
	}
	return "//" + endpoint + "/" + l.Bucket + "/" + l.Prefix
}
