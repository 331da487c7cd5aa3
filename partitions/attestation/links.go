package attestation

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// readAtOnce is how many signatures are read at a time.
const readAtOnce = 16

// link is a signature in a store.
type link struct {
	Number    uint64
	Signature []byte
	Comment   Comment // zero if Err
	Err       error   // why it is not valid
	// size is that of the list that the comment names; -1 = the store does not have it.
	size int64
}

func (l *link) valid() bool { return l.Err == nil }

// listed is a number as a list of the store shows it.
type listed struct {
	number uint64
	bodies map[string]int64 // size of each list with this number, by hash
	err    error            // of the store
}

// mostBodies is how many lists with the same number are remembered. A program that was interrupted, or that another
// host has preceded, leaves one.
const mostBodies = 1000

// links yields the signatures in a store, in the order of their numbers. An error of the store ends the sequence.
func (k PublicKeys) links(ctx context.Context, s objstore.Store) iter.Seq2[*link, error] {
	return func(yield func(*link, error) bool) {
		type result struct {
			link *link
			err  error
		}
		read := func(ctx context.Context, _ <-chan struct{}, at listed) result {
			if at.err != nil {
				return result{err: at.err}
			}
			l, err := k.link(ctx, s, at)
			return result{l, err}
		}
		for r := range inorder.Map(ctx, inorder.Limit[listed]{Count: readAtOnce}, numbers(ctx, s), read) {
			if !yield(r.link, r.err) || r.err != nil {
				return
			}
		}
	}
}

// numbers yields the numbers that have a signature.
func numbers(ctx context.Context, s objstore.Store) iter.Seq[listed] {
	return func(yield func(listed) bool) {
		at := listed{}
		for info, err := range s.List(ctx, Prefix, "") {
			if err != nil {
				yield(listed{err: err})
				return
			}
			n, sum, ok := parseKey(info.Key)
			if !ok {
				continue
			}
			if n != at.number {
				at = listed{number: n, bodies: map[string]int64{}}
			}
			if sum != "" { // a list; its signature follows
				if len(at.bodies) < mostBodies {
					at.bodies[sum] = info.Size
				}
				continue
			}
			if !yield(at) {
				return
			}
		}
	}
}

// link reads a signature. The error is one of the store.
func (k PublicKeys) link(ctx context.Context, s objstore.Store, at listed) (*link, error) {
	l := &link{Number: at.number, size: -1}
	key := SignatureKey(at.number)
	b, _, err := repository.ReadSmall(ctx, s, key)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		l.Err = fmt.Errorf("it was removed meanwhile")
		return l, nil
	case err != nil && repository.IsStoreError(err):
		return nil, err
	case err != nil:
		l.Err = err
		return l, nil
	}
	l.Signature = b
	if l.Comment, l.Err = k.comment(b); errors.Is(l.Err, repository.ErrVersion) {
		return nil, fmt.Errorf("list %d: %w", at.number, l.Err)
	}
	if l.Err == nil && l.Comment.List.Number != at.number {
		l.Err = fmt.Errorf("%w: it is that of list %d", ErrSignature, l.Comment.List.Number)
	}
	if size, there := at.bodies[l.Comment.List.SHA256]; there {
		l.size = size
	}
	return l, nil
}
