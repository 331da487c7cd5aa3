// Package s3keys finds the keys for S3 locations, by the same rules for both drivers and
// all programs, and detects when they change.
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

// Options control the search.
type Options struct {
	File    string // backup_credentials_file: only this file is used; "" for the files of AWS's tools
	Profile string // the location's
	Given   bool   // the caller provides the keys: no file is read
	Log     *slog.Logger
}

// Found contains keys and a description of their source.
type Found struct {
	objstore.Credentials
	Origin string
}

// Paths returns the files to read: keys, and AWS's settings, or "" for a file that is not
// used.
func (o Options) Paths() (keys, config string) {
	if o.File != "" {
		return o.File, ""
	}
	return firstOf(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), inHome("credentials")),
		firstOf(os.Getenv("AWS_CONFIG_FILE"), inHome("config"))
}

// inHome returns a file below .aws in the home directory of the process's user. $HOME is
// used only if that directory is unknown, because master(8) passes on its own $HOME, which
// is root's or empty.
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

// ProfileName returns the profile to look for in the files.
func (o Options) ProfileName() string {
	if o.File != "" || o.Profile != "" {
		return firstOf(o.Profile, "default")
	}
	return firstOf(os.Getenv("AWS_PROFILE"), "default")
}

// Find finds keys that are stored in plain form: only in backup_credentials_file if that is
// set; otherwise in the profile of the location, if it names one; otherwise in the
// environment, then in the user's files. The error names the file, the profile and the
// missing setting.
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

// environment contains the pairs of variables, in order of precedence.
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

// fromFiles reads the keys of the profile from the credentials file, or from AWS's config
// file.
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
		err = fmt.Errorf("%w: %s works only with an s3:// location (s3://bucket/prefix?endpoint=…)", err, way)
	}
	return Found{}, err
}

func (o Options) where(path string) string {
	return fmt.Sprintf("profile %s of %s", o.ProfileName(), path)
}

// section returns the profile's section of a file.
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

// Check is Find for a driver that can also get keys in other ways. It refuses only a
// profile that cannot provide keys, if the file or the name was configured.
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

// files returns the files of Paths that are used.
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

// checkMode warns about keys that other users can read.
func (o Options) checkMode(path string) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o044 != 0 && o.Log != nil {
		o.Log.Warn("other users can read the keys of the bucket: chmod 600", "file", path, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
}
