package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/xdg-go/scram"
)

// Credentials is the file of SCRAM credentials (option backup_credentials_path), written by
// ctl_backups passwd. No password can be read from it, but anyone who has it can
// impersonate the server and guess passwords offline. The file is read again after it
// changes. A nil pointer means that there is no file. Safe for concurrent use.
type Credentials struct {
	path string

	mu    sync.Mutex
	stamp fileStamp
	file  *credentialFile
}

// OpenCredentials returns the Credentials of the file at path. It need not exist yet.
func OpenCredentials(path string) *Credentials { return &Credentials{path: path} }

// Exists reports whether the file exists.
func (c *Credentials) Exists() bool {
	if c == nil {
		return false
	}
	_, err := os.Stat(c.path)
	return err == nil
}

// Has reports whether the file contains the user, whose name is canonical.
func (c *Credentials) Has(user string) (bool, error) {
	file, err := c.read()
	if err != nil {
		return false, err
	}
	_, ok := file.Users[user]
	return ok, nil
}

// CheckPassword compares a password with the keys of SCRAM-SHA-256. It takes equally long
// for an unknown user.
func (c *Credentials) CheckPassword(_ context.Context, user, password string) (bool, error) {
	file, err := c.read()
	if err != nil {
		return false, err
	}
	want := file.decoy(ScramSHA256, user) // for a known user too: it takes longer with more users
	held, known := file.Users[user]
	if known {
		want = held.SHA256
	}
	same, err := want.match(password)
	return same && known, err
}

// scram returns the credentials that a SCRAM server needs. An unknown user gets a constant
// salt and keys that no proof matches, so that the client learns nothing.
func (c *Credentials) scram(mechanism, user string) (scram.StoredCredentials, error) {
	file, err := c.read()
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	k := file.decoy(mechanism, user)
	if held, ok := file.Users[user]; ok {
		k = held.keys(mechanism)
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations},
		StoredKey:  k.StoredKey,
		ServerKey:  k.ServerKey,
	}, nil
}

// decoy makes keys for an unknown user, with the iteration count of some real user.
func (f *credentialFile) decoy(mechanism, user string) scramKeys {
	mac := hmac.New(sha256.New, f.Decoy)
	fmt.Fprintf(mac, "%s\x00%s", mechanism, user)
	sum := mac.Sum(nil)
	k := scramKeys{Salt: sum[:saltSize], Iterations: iterations}
	if n := uint64(len(f.Users)); n > 0 {
		some := slices.Sorted(maps.Keys(f.Users))[binary.BigEndian.Uint64(sum[saltSize:])%n]
		k.Iterations = f.Users[some].keys(mechanism).Iterations
	}
	k.StoredKey = make([]byte, keySize(mechanism))
	k.ServerKey = make([]byte, keySize(mechanism))
	rand.Read(k.StoredKey)
	rand.Read(k.ServerKey)
	return k
}

// fileStamp distinguishes one state of a file from another.
type fileStamp struct {
	info  fs.FileInfo
	mtime time.Time
	size  int64
}

func (s fileStamp) same(info fs.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, info) && s.mtime.Equal(info.ModTime()) && s.size == info.Size()
}

// read returns the file's content, which callers must not change.
func (c *Credentials) read() (*credentialFile, error) {
	if c == nil {
		return nil, errors.New("no credentials file")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.path)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	if c.file != nil && c.stamp.same(info) {
		return c.file, nil
	}
	file, info, err := readCredentials(c.path)
	if err != nil {
		return nil, err
	}
	c.file, c.stamp = file, fileStamp{info: info, mtime: info.ModTime(), size: info.Size()}
	return file, nil
}

// maxCredentials limits the size of the file; a user takes about 500 bytes.
const maxCredentials = 16 << 20

func readCredentials(path string) (*credentialFile, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read credentials: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read credentials: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return nil, nil, fmt.Errorf("read credentials: %s has mode %04o; remove all access for others and write access for the group", path, mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("read credentials: %w", err)
	case len(data) > maxCredentials:
		return nil, nil, fmt.Errorf("read credentials: %s is larger than %d bytes", path, maxCredentials)
	}
	file, err := decodeCredentials(data)
	if err != nil {
		return nil, nil, fmt.Errorf("read credentials: %s: %w", path, err)
	}
	return file, info, nil
}
