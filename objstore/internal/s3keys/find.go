// Package s3keys finds the keys of S3 locations by the same rules for both drivers and
// for all programs, and notices when they are exchanged.
package s3keys

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// Options say where to look.
type Options struct {
	File    string // backup_credentials_file: it alone counts; "" for where AWS's tools look
	Profile string // the location's
	Given   bool   // the caller has brought keys: no file is looked at
	Log     *slog.Logger
}

// Found are keys and where they come from, in words.
type Found struct {
	objstore.Credentials
	Origin string
}

// Paths are the files to look in: keys, and AWS's settings, "" where these do not count.
func (o Options) Paths() (keys, config string) {
	if o.File != "" {
		return o.File, ""
	}
	return firstOf(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), inHome("credentials")),
		firstOf(os.Getenv("AWS_CONFIG_FILE"), inHome("config"))
}

// inHome is a file below .aws in the home directory of the process's user. $HOME is not
// asked where that is known: master(8) hands down its own, which is root's or none.
func inHome(name string) string {
	home := os.Getenv("HOME")
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil && u.HomeDir != "" {
		home = u.HomeDir
	}
	return filepath.Join(home, ".aws", name)
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// ProfileName is the profile to look for in the files.
func (o Options) ProfileName() string {
	if o.File != "" || o.Profile != "" {
		return firstOf(o.Profile, "default")
	}
	return firstOf(os.Getenv("AWS_PROFILE"), "default")
}

// Find finds keys that stand somewhere as they are: in backup_credentials_file alone if
// that is set; otherwise in the profile that the location names; otherwise in the
// environment, and then in the user's files. The error names file, profile and what is missing.
func (o Options) Find() (Found, error) {
	if o.File == "" && o.Profile == "" {
		if f, ok := fromEnvironment(); ok {
			return f, nil
		}
	}
	f, err := o.fromFiles()
	if err != nil && o.File == "" && o.Profile == "" {
		err = fmt.Errorf("no credentials: set backup_credentials_file, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "+
			"or MINIO_ROOT_USER and MINIO_ROOT_PASSWORD: %w", err)
	}
	return f, err
}

// environment are the pairs of variables, in the order in which they count.
var environment = [...][2]string{
	{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
	{"AWS_ACCESS_KEY", "AWS_SECRET_KEY"},
	{"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"},
	{"MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"},
}

func fromEnvironment() (Found, bool) {
	for _, pair := range environment {
		id, secret := os.Getenv(pair[0]), os.Getenv(pair[1])
		if id == "" || secret == "" {
			continue
		}
		c := objstore.Credentials{AccessKey: id, SecretKey: objstore.Secret(secret)}
		if strings.HasPrefix(pair[0], "AWS_") {
			c.SessionToken = objstore.Secret(os.Getenv("AWS_SESSION_TOKEN"))
		}
		return Found{c, pair[0] + " of the environment"}, true
	}
	return Found{}, false
}

// fromFiles takes the keys of the profile from the credentials file, or from AWS's config file.
func (o Options) fromFiles() (Found, error) {
	keys, config := o.Paths()
	f, err := o.fromFile(keys)
	if err == nil || config == "" {
		return f, err
	}
	if f, err2 := o.fromFile(config); err2 == nil {
		return f, nil
	}
	return Found{}, err
}

func (o Options) fromFile(path string) (Found, error) {
	section, err := o.section(path)
	if err != nil {
		return Found{}, err
	}
	c, missing := keysOf(section)
	if len(missing) == 0 {
		o.checkMode(path)
		return Found{c, o.where(path)}, nil
	}
	err = fmt.Errorf("%s has no %s", o.where(path), strings.Join(missing, " and no "))
	if way := indirectIn(section); way != "" {
		err = fmt.Errorf("%w: with %s only an s3:// location can do something (s3://bucket/prefix?endpoint=…)", err, way)
	}
	return Found{}, err
}

func (o Options) where(path string) string {
	return fmt.Sprintf("profile %s of %s", o.ProfileName(), path)
}

// section is the profile's part of a file.
func (o Options) section(path string) (map[string]string, error) {
	all, err := readProfiles(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("credentials file %s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("credentials file %s cannot be read by user %d: %w", path, os.Geteuid(), err)
	case err != nil:
		return nil, fmt.Errorf("credentials file: %w", err)
	}
	section := all[o.ProfileName()]
	if section == nil {
		return nil, fmt.Errorf("credentials file %s has no profile %s; it has %s", path, o.ProfileName(), all.names())
	}
	return section, nil
}

// Check is Find for a driver that can get keys in other ways too: it refuses only a
// profile from which nothing can come, of a file or by a name that somebody has set.
func (o Options) Check() error {
	if o.File == "" && o.Profile == "" {
		return nil
	}
	_, err := o.fromFiles()
	if err == nil {
		return nil
	}
	for _, path := range o.files() {
		if section, err := o.section(path); err == nil && indirectIn(section) != "" {
			return nil
		}
	}
	return err
}

// files are those of Paths that count.
func (o Options) files() []string {
	if o.Given {
		return nil
	}
	keys, config := o.Paths()
	if config == "" {
		return []string{keys}
	}
	return []string{keys, config}
}

// checkMode warns of keys that others can read.
func (o Options) checkMode(path string) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o044 != 0 && o.Log != nil {
		o.Log.Warn("others can read the keys of the bucket: chmod 600", "file", path, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
}
