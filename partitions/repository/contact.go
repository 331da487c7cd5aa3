package repository

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// ContactsPrefix is the prefix of the keys of contacts.
const ContactsPrefix = "contacts/"

// MostBehind is how many refusals a Contact lists.
const MostBehind = 100

// Contact is what one backup host knows about one mail server: the object that tools on other hosts
// read (docs/format.md 9).
type Contact struct {
	Version int    `json:"version"`
	Client  string `json:"client"` // user and address, as in commits
	Host    string `json:"host"`   // the backup host
	// Last is when the mail server last sent a command, by the clock of the host.
	Last time.Time `json:"last"`
	// Written is when the host last committed something in this partition; zero = unknown.
	Written time.Time `json:"written,omitzero"`
	// Refused is the last command that could not be executed; nil = none.
	Refused *Refusal `json:"refused,omitempty"`
	// Unreached are the backups that the mail server has not reached since a refusal, up to
	// MostBehind. More counts the others.
	Unreached []Refusal `json:"unreached,omitempty"`
	More      int       `json:"more,omitempty"`
}

// Refusal is a command that could not be executed.
type Refusal struct {
	Client string    `json:"client,omitempty"` // absent in a Contact
	Backup string    `json:"backup"`           // path; "" = no backup was affected
	Kind   string    `json:"kind"`             // locked, damage, denied, no-answer, …
	Since  time.Time `json:"since"`            // of the first one without a success after it
	At     time.Time `json:"at"`               // of the last one
	Error  string    `json:"error"`
	Action string    `json:"action,omitempty"` // what to do about it
}

// ContactKey is the key of a Contact. The object has the names: a client's may be long.
func ContactKey(client, host string) string {
	sum := sha256.Sum256([]byte(client + "\x00" + host))
	return ContactsPrefix + hex.EncodeToString(sum[:16]) + ".json"
}

// Put writes the object. Only this host writes it, so there is no condition.
func (c *Contact) Put(ctx context.Context, s objstore.Store) error {
	c.Version = Version
	b, err := history.MarshalState(c)
	if err != nil {
		return err
	}
	_, err = s.Put(ctx, ContactKey(c.Client, c.Host), bytes.NewReader(append(b, '\n')), objstore.PutOptions{})
	return err
}

// Reaches reports whether a backup of this mail server is up to date while the server is in contact.
func (c *Contact) Reaches(path string) bool {
	if c.More > 0 {
		return false // it may be among the backups that More counts
	}
	for i := range c.Unreached {
		if c.Unreached[i].Backup == path {
			return false
		}
	}
	return true
}

// Contacts reads all contacts of a partition. An object that cannot be read as a contact is an error,
// and the next one follows.
func Contacts(ctx context.Context, s objstore.Store) iter.Seq2[*Contact, error] {
	return func(yield func(*Contact, error) bool) {
		for info, err := range s.List(ctx, ContactsPrefix, "") {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(readContact(ctx, s, info.Key)) {
				return
			}
		}
	}
}

func readContact(ctx context.Context, s objstore.Store, key string) (*Contact, error) {
	b, _, err := ReadSmall(ctx, s, key)
	if err != nil {
		return nil, err
	}
	c := new(Contact)
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", key, history.ErrCorrupt, err)
	}
	if c.Version != Version {
		return nil, fmt.Errorf("%s has version %d, this program supports version %d: %w", key, c.Version, Version, ErrVersion)
	}
	return c, nil
}

// ForgetClient removes what backup hosts have put into a partition about a mail server, and returns the
// names of these hosts. An object that cannot be read as a contact stays.
func ForgetClient(ctx context.Context, s objstore.Store, client string) (hosts []string, err error) {
	for c, err := range Contacts(ctx, s) {
		switch {
		case IsStoreError(err):
			return hosts, err
		case err != nil || c.Client != client:
			continue
		}
		if err := s.Delete(ctx, ContactKey(c.Client, c.Host)); err != nil {
			return hosts, err
		}
		hosts = append(hosts, c.Host)
	}
	return hosts, nil
}
