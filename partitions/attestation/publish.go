package attestation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// putTries is how often a conditional put is tried, which no decorator repeats.
const putTries = 3

// publish puts the list, and then its signature, if the number is free. If another host was faster, its list is the
// result. again means that the number is taken by something that is not genuine.
func (s *sealing) publish(ctx context.Context, l *signed) (again bool, err error) {
	c := l.Comment
	if _, err := s.p.Store.Put(ctx, ListKey(c.List.Number, c.List.SHA256), l.Body, objstore.PutOptions{}); err != nil {
		return false, fmt.Errorf("partition %s: put list %d: %w", s.p.Name, c.List.Number, err)
	}
	found, err := putSignature(ctx, s.p.Store, c.List.Number, l.Signature, s.info.Capabilities.IfAbsent)
	if err != nil {
		return false, fmt.Errorf("partition %s: put the signature of list %d: %w", s.p.Name, c.List.Number, err)
	}
	if !bytes.Equal(found, l.Signature) {
		other, err := s.o.Keys.comment(found)
		if err != nil || other.List.Number != c.List.Number || other.Repository != s.chain.repository {
			return true, fmt.Errorf("partition %s: %s was taken by something that is not genuine", s.p.Name, SignatureKey(c.List.Number))
		}
		if s.o.Accept > 0 {
			return false, fmt.Errorf("partition %s: another host has made list %d at the same time, so nothing was accepted: run it again", s.p.Name, c.List.Number)
		}
		c, s.done.Other = other, true
	}
	s.done.Number, s.done.SHA256, s.done.Time, s.done.Signature = c.List.Number, c.List.SHA256, c.Time, found
	s.done.Lists = s.chain.lists + 1
	if s.o.Outside != nil {
		s.chain.uncopied = append(s.chain.uncopied, c.List.Number)
	}
	return false, nil
}

// putSignature puts a signature if there is none, and returns the object that is there. After an unclear answer, the
// object decides.
func putSignature(ctx context.Context, s objstore.Store, n uint64, signature []byte, conditional bool) ([]byte, error) {
	key := SignatureKey(n)
	var err error
	for range putTries {
		if err = repository.PutIfAbsent(ctx, s, key, signature, conditional); err == nil {
			return signature, nil
		}
		found, _, rerr := repository.ReadSmall(ctx, s, key)
		switch {
		case rerr == nil:
			return found, nil
		case !isAbsent(rerr), ctx.Err() != nil:
			return nil, errors.Join(err, rerr)
		case !objstore.IsTemporary(err):
			return nil, err
		}
	}
	return nil, err
}

// mostErrors is how many errors of copies are returned.
const mostErrors = 20

// mirror copies lists that the copy outside does not have, and puts those back into the bucket that were removed from it.
func (s *sealing) mirror(ctx context.Context) error {
	if s.o.Outside == nil {
		return nil
	}
	var errs []error
	failed := func(format string, n uint64, err error) {
		if err != nil && len(errs) < mostErrors {
			errs = append(errs, fmt.Errorf("partition %s: "+format+": %w", s.p.Name, n, err))
		}
	}
	for _, n := range s.chain.removed {
		failed("put list %d back into the bucket", n, s.o.Keys.copyList(ctx, s.o.Outside, s.p.Store, n))
	}
	slices.Sort(s.chain.uncopied)
	for _, n := range s.chain.uncopied {
		if err := s.o.Keys.copyList(ctx, s.p.Store, s.o.Outside, n); err != nil {
			failed("copy list %d", n, fmt.Errorf("%w: %w", ErrOutside, err))
		}
	}
	return errors.Join(errs...)
}

// copyList copies a list, and then its signature. If the list is lost or was changed, its signature is copied alone.
func (k PublicKeys) copyList(ctx context.Context, from, to objstore.Store, n uint64) error {
	signature, _, err := repository.ReadSmall(ctx, from, SignatureKey(n))
	if err != nil {
		return err
	}
	c, err := k.comment(signature)
	if err != nil {
		return err
	}
	key := ListKey(n, c.List.SHA256)
	body, _, drop, err := repository.ReadWhole(ctx, from, key)
	if err != nil && !isAbsent(err) {
		return err
	}
	var changed error
	if err == nil {
		defer drop()
		sum, err := hashOf(body)
		if err != nil {
			return err
		}
		if sum == c.List.SHA256 {
			_, err = to.Put(ctx, key, body, objstore.PutOptions{})
		} else {
			changed = fmt.Errorf("%s: %w: it was changed, so only its signature was copied", key, ErrSignature)
		}
		if err != nil {
			return err
		}
	}
	there, err := putSignature(ctx, to, n, signature, true)
	if err == nil && !bytes.Equal(there, signature) {
		err = fmt.Errorf("%s: another object is there", SignatureKey(n))
	}
	return errors.Join(changed, err)
}

func hashOf(body objstore.Body) (string, error) {
	sum := sha256.New()
	_, err := io.Copy(sum, io.NewSectionReader(body, 0, body.Size()))
	return hex.EncodeToString(sum.Sum(nil)), err
}
