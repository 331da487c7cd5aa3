package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
)

// credentialFile is the file's JSON, version 1. Binary values are base64.
type credentialFile struct {
	Version int                  `json:"version"`
	Decoy   []byte               `json:"decoy"` // makes the salts of unknown users
	Users   map[string]scramUser `json:"users"` // by canonical name
}

type scramUser struct {
	SHA1   scramKeys `json:"SCRAM-SHA-1"`
	SHA256 scramKeys `json:"SCRAM-SHA-256"`
}

// scramKeys are the stored values of RFC 5802 section 3.
type scramKeys struct {
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	StoredKey  []byte `json:"stored_key"`
	ServerKey  []byte `json:"server_key"`
}

const (
	credentialVersion = 1
	saltSize          = 16
	decoySize         = 32
	// libsasl's client takes 4096 to 65536 iterations (plugins/scram.c).
	minIterations = 4096
	maxIterations = 65536
	iterations    = 16384 // some milliseconds of the client's time per connection
)

func (u scramUser) keys(mechanism string) scramKeys {
	if mechanism == ScramSHA1 {
		return u.SHA1
	}
	return u.SHA256
}

func keySize(mechanism string) int {
	if mechanism == ScramSHA1 {
		return sha1.Size
	}
	return sha256.Size
}

// derive computes a password's keys (RFC 5802 section 3).
func derive(mechanism, password string, salt []byte, iterations int) (scramKeys, error) {
	newHash := sha256.New
	if mechanism == ScramSHA1 {
		newHash = sha1.New
	}
	salted, err := pbkdf2.Key(newHash, password, salt, iterations, keySize(mechanism))
	if err != nil {
		return scramKeys{}, fmt.Errorf("derive keys: %w", err)
	}
	h := newHash()
	h.Write(mac(newHash, salted, "Client Key"))
	return scramKeys{
		Salt:       salt,
		Iterations: iterations,
		StoredKey:  h.Sum(nil),
		ServerKey:  mac(newHash, salted, "Server Key"),
	}, nil
}

func mac(newHash func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(newHash, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// newUser makes keys from a password, with separate salts for each mechanism.
func newUser(password string) (scramUser, error) {
	var u scramUser
	for mechanism, k := range map[string]*scramKeys{ScramSHA1: &u.SHA1, ScramSHA256: &u.SHA256} {
		salt := make([]byte, saltSize)
		rand.Read(salt)
		var err error
		if *k, err = derive(mechanism, password, salt, iterations); err != nil {
			return scramUser{}, err
		}
	}
	return u, nil
}

func newCredentialFile() *credentialFile {
	f := &credentialFile{Version: credentialVersion, Decoy: make([]byte, decoySize), Users: make(map[string]scramUser)}
	rand.Read(f.Decoy)
	return f
}

func (f *credentialFile) encode() ([]byte, error) {
	data, err := json.MarshalIndent(f, "", "  ")
	return append(data, '\n'), err
}

// decodeCredentials validates everything that a login relies on.
func decodeCredentials(data []byte) (*credentialFile, error) {
	var f credentialFile
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("data follows the JSON object")
	}
	if f.Version != credentialVersion {
		return nil, fmt.Errorf("unknown version %d, want %d", f.Version, credentialVersion)
	}
	if len(f.Decoy) < 16 {
		return nil, errors.New("decoy is shorter than 16 bytes")
	}
	if f.Users == nil {
		f.Users = make(map[string]scramUser)
	}
	for name, u := range f.Users {
		for _, mechanism := range []string{ScramSHA1, ScramSHA256} {
			if err := u.keys(mechanism).check(mechanism); err != nil {
				return nil, fmt.Errorf("user %q: %s: %w", name, mechanism, err)
			}
		}
	}
	return &f, nil
}

func (k scramKeys) check(mechanism string) error {
	switch {
	case len(k.Salt) < 8:
		return errors.New("salt is shorter than 8 bytes")
	case k.Iterations < minIterations || k.Iterations > maxIterations:
		return fmt.Errorf("iterations are not between %d and %d", minIterations, maxIterations)
	case len(k.StoredKey) != keySize(mechanism) || len(k.ServerKey) != keySize(mechanism):
		return fmt.Errorf("keys are not %d bytes long", keySize(mechanism))
	}
	return nil
}
