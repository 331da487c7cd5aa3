package partitions

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// FlushContacts writes the contacts in memory to the index.
func (s *Set) FlushContacts() error {
	s.contacts.writing.Lock()
	defer s.contacts.writing.Unlock()
	servers, backups := s.contacts.take()
	if len(servers)+len(backups) == 0 {
		return nil
	}
	err := s.limitNames(servers, backups)
	if err == nil {
		err = s.index.UpdateLong(func(t *index.Txn) error { return putAll(t, servers, backups) })
	}
	if err != nil {
		s.contacts.giveBack(servers, backups)
	}
	return err
}

func putAll(t *index.Txn, servers map[string]serverContact, backups map[string]backupContact) error {
	for _, client := range slices.Sorted(maps.Keys(servers)) {
		if err := putServer(t, client, servers[client]); err != nil {
			return err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(backups)) {
		if err := putContact(t, path, backups[path]); err != nil {
			return err
		}
	}
	return nil
}

func putServer(t *index.Txn, client string, v serverContact) error {
	was, _, err := getJSON[serverContact](t, index.ServerKey(client))
	if err != nil {
		return err
	}
	if v.Put = was.Put; v.Refused == nil {
		v.Refused = was.Refused
	} else {
		v.Refused = lastRefusal(was.Refused, v.Refused)
	}
	if v.Unlisted.IsZero() {
		v.Unlisted = was.Unlisted
	}
	if !v.reached {
		v.Refusals += was.Refusals
	}
	return setJSON(t, index.ServerKey(client), v)
}

func putContact(t *index.Txn, path string, v backupContact) error {
	was, refused, err := getJSON[repository.Refusal](t, index.RefusalKey(path))
	if err == nil && !v.At.IsZero() && !v.nameless {
		err = setJSON(t, index.ContactKey(path), v)
	}
	switch {
	case err != nil:
		return err
	case v.refused == nil && !refused:
		return nil
	case v.refused == nil:
		return t.Delete(index.RefusalKey(path))
	case refused && v.At.IsZero():
		v.refused.Since = was.Since
	}
	return setJSON(t, index.RefusalKey(path), v.refused)
}

// getJSON reads a value of the index. there is false if there is none.
func getJSON[T any](t *index.Txn, k index.Key) (v T, there bool, err error) {
	b, err := t.Get(k)
	if errors.Is(err, index.ErrNotFound) {
		return v, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	return v, err == nil, err
}

// findJSON is getJSON. It returns nil if there is no value.
func findJSON[T any](t *index.Txn, k index.Key) (*T, error) {
	v, there, err := getJSON[T](t, k)
	if err != nil || !there {
		return nil, err
	}
	return &v, nil
}

func setJSON(t *index.Txn, k index.Key, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.Set(k, b)
}

// servers returns what the index has about the mail servers, by client.
func servers(t *index.Txn) (map[string]serverContact, error) {
	out := map[string]serverContact{}
	for kv, err := range t.Range(index.ServerKey(""), nil) {
		if err != nil {
			return nil, err
		}
		var v serverContact
		if err := json.Unmarshal(kv.Value, &v); err != nil {
			return nil, err
		}
		out[index.ClientOf(kv.Key)] = v
	}
	return out, nil
}

// refusedBackups returns the refused backups of each mail server, as a Contact has them.
func refusedBackups(t *index.Txn) (map[string]*repository.Contact, error) {
	out := map[string]*repository.Contact{}
	for kv, err := range t.Range(index.RefusalKey(""), nil) {
		if err != nil {
			return nil, err
		}
		var r repository.Refusal
		if err := json.Unmarshal(kv.Value, &r); err != nil {
			return nil, err
		}
		c := out[r.Client]
		if c == nil {
			c = new(repository.Contact)
			out[r.Client] = c
		}
		if r.Client = ""; len(c.Unreached) < repository.MostBehind {
			c.Unreached = append(c.Unreached, r)
		} else {
			c.More++
		}
	}
	return out, nil
}

// putContacts puts what the index has about the mail servers into the partitions, where that is due.
// A store that refuses it may still take mail: this is no trouble of the partition.
func (s *Set) putContacts(ctx context.Context, ending bool) error {
	done, err := s.beginPuts(ctx)
	if err != nil {
		return err
	}
	defer done()
	var known map[string]serverContact
	var refused map[string]*repository.Contact
	err = s.index.View(func(t *index.Txn) (err error) {
		if known, err = servers(t); err == nil {
			refused, err = refusedBackups(t)
		}
		return err
	})
	var failed error
	for client, v := range known {
		if err != nil || ctx.Err() != nil {
			break
		}
		for _, p := range s.parts {
			if p.known() == nil || !s.contactDue(v, p.name, ending) {
				continue
			}
			c := repository.Contact{Client: client, Host: s.opt.Host, Last: v.Last, Written: p.lastWrite(), Refused: v.Refused}
			if r := refused[client]; r != nil {
				c.Unreached, c.More = r.Unreached, r.More
			}
			if perr := c.Put(ctx, p.plain); perr != nil {
				failed = errors.Join(failed, perr)
				continue
			}
			err = s.contactPut(client, p.name)
		}
	}
	return errors.Join(err, failed)
}

// beginPuts waits until no other goroutine puts contacts. done ends the puts of the caller.
func (s *Set) beginPuts(ctx context.Context) (done func(), err error) {
	select {
	case s.contacts.putting <- struct{}{}:
		return func() { <-s.contacts.putting }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// contactDue reports whether a contact is to be put: if the mail server has been in contact since the
// last put, and that was an hour ago. The end of a first hour, or of the process,
// shows more than its beginning.
func (s *Set) contactDue(v serverContact, partition string, ending bool) bool {
	now, put := s.opt.Now(), v.Put[partition]
	if !put.Before(v.Last) {
		return false
	}
	if !ending && put.Before(s.contacts.begun) {
		put = s.contacts.begun
	}
	return apart(put, now) >= contactAge
}

func (s *Set) contactPut(client, partition string) error {
	return s.index.Update(func(t *index.Txn) error {
		v, there, err := getJSON[serverContact](t, index.ServerKey(client))
		if err != nil || !there {
			return err
		}
		if v.Put == nil {
			v.Put = map[string]time.Time{}
		}
		v.Put[partition] = s.opt.Now()
		return setJSON(t, index.ServerKey(client), v)
	})
}

// lastWrite returns when this process last committed something; zero = never.
func (p *Partition) lastWrite() time.Time {
	if at := p.wrote.Load(); at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Time{}
}
