package ctlbackups

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/partitions/attestation"
)

// The options of imapd.conf about signed lists.
const (
	sealKey        = "backup_seal_key"
	sealPublicKeys = "backup_seal_public_keys"
)

// initSealKey makes the key pair of this server. The public key is only printed: it belongs on other hosts, and on paper.
func (c *command) initSealKey() error {
	conf, err := imapconf.Load(c.config, "ctl_backups")
	if err != nil {
		return &cli.ConfigError{Err: err}
	}
	path := conf.String(sealKey)
	if path == "" {
		return &cli.ConfigError{Err: fmt.Errorf("set %s in %s first: the file that will have the secret key", sealKey, c.config)}
	}
	key, err := attestation.CreateSecretKey(path)
	c.audit.Done(conf, "seal: key made", err, "file", path)
	if err != nil {
		return err
	}
	_, err = cli.Fprintf(c.out, "The secret key is in %s. Keep a copy where the bucket's keys are not.\nThe public key, for imapd.conf of every host that runs verify --seals, and for minisign -P:\n%s: %s\n", path, sealPublicKeys, key)
	return err
}

// publicKeys returns the keys that lists may be signed with. Without the option, it is that of the secret key.
func (c *command) publicKeys() (attestation.PublicKeys, error) {
	var keys attestation.PublicKeys
	for word := range strings.FieldsSeq(c.bucket.Conf.String(sealPublicKeys)) {
		k, err := attestation.ParsePublicKey(word)
		if err != nil {
			return nil, &cli.ConfigError{Err: fmt.Errorf("%s: %s: %q: %w", c.bucket.Conf.Origin(sealPublicKeys), sealPublicKeys, word, err)}
		}
		keys = append(keys, k)
	}
	if len(keys) > 0 {
		return keys, nil
	}
	path := c.bucket.Conf.String(sealKey)
	if path == "" {
		return nil, &cli.ConfigError{Err: fmt.Errorf("set %s in imapd.conf: the public key that ctl_backups seal --init-key has printed", sealPublicKeys)}
	}
	secret, err := attestation.ReadSecretKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: make it with ctl_backups seal --init-key, or set %s", err, sealPublicKeys)
	}
	if err != nil {
		return nil, &cli.ConfigError{Err: fmt.Errorf("%s: %w", sealKey, err)}
	}
	return attestation.PublicKeys{attestation.Public(secret)}, nil
}

// checkSeal checks the command line of seal. A list names all backups, so there is no other mode.
func (c *command) checkSeal() error {
	if c.mode != modeAll || len(c.args) > 0 {
		return cli.Usagef("seal needs -A and takes no names: a list has all backups")
	}
	return nil
}

// checkVerifySeals checks the command line of verify --seals.
func (c *command) checkVerifySeals() error {
	if len(c.args) > 1 || c.anyMode() && c.mode != modeAll {
		return cli.Usagef("verify --seals takes a file or a location, and no names: it compares all backups")
	}
	c.mode = modeAll
	return nil
}
