package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"

	"github.com/cyrusbackup/backupd/objstore"
)

// LogPlaces yields the places in a commit or a segment, like ObjectPlaces, but refuses a
// commit of an unknown version: its places may be elsewhere.
func LogPlaces(ctx context.Context, s objstore.Store, key string) iter.Seq2[Place, error] {
	return HeadedPlaces(ctx, s, key, func(Header) {})
}

// HeadedPlaces is LogPlaces, and calls head with the header of each commit, if that is readable, before it yields its places.
func HeadedPlaces(ctx context.Context, s objstore.Store, key string, head func(Header)) iter.Seq2[Place, error] {
	return func(yield func(Place, error) bool) {
		commits := 0
		for e, err := range entriesOf(ctx, s, key) {
			switch {
			case err != nil:
			case path.Base(e.name) == commitEntry:
				commits++
				err = checkHeader(e, head)
			case path.Base(e.name) == placesEntry:
				err = eachPlace(e.body, key, func(p Place) error {
					if !yield(p, nil) {
						return errStop
					}
					return nil
				})
			}
			if errors.Is(err, errStop) {
				return
			}
			if err != nil {
				yield(Place{}, inObject(key, err))
				return
			}
		}
		if commits == 0 {
			yield(Place{}, inObject(key, fmt.Errorf("%w: no commit", ErrCorrupt)))
		}
	}
}

// checkHeader refuses a commit of an unknown version.
func checkHeader(e entry, head func(Header)) error {
	line, err := firstLine(e)
	if err == nil {
		err = checkVersion(line, versionErased)
	}
	if err != nil {
		return err
	}
	if h, err := parseHeader(line); err == nil {
		head(h)
	}
	return nil
}

// checkFirstLine refuses an entry of an unknown version.
func checkFirstLine(e entry, newest int) error {
	line, err := firstLine(e)
	if err != nil {
		return err
	}
	return checkVersion(line, newest)
}

func firstLine(e entry) ([]byte, error) {
	line, err := newLines(e.body, e.size).next()
	if err != nil {
		return nil, fmt.Errorf("%w: %s has no first line: %w", ErrCorrupt, e.name, err)
	}
	return line, nil
}

// PlaceObjects returns the objects of records/ that contain the places of a checkpoint, each
// once. It does not read the state.
func PlaceObjects(ctx context.Context, s objstore.Store, checkpoint string) ([]string, error) {
	var objects []string
	seen := map[string]bool{}
	state, ended := false, false
	for e, err := range entriesOf(ctx, s, checkpoint) {
		if err != nil {
			return nil, err
		}
		switch e.name {
		case stateEntry:
			state, err = true, checkFirstLine(e, versionErased)
		case placesEntry:
			last := ""
			err = newLines(e.body, e.size).each(func(line []byte) error {
				p, err := parseBlockPlace(line, last)
				if err != nil {
					return err
				}
				last, ended = p.Object, p.Object == ""
				if p.Places != "" && !seen[p.Object] {
					seen[p.Object] = true
					objects = append(objects, p.Object)
				}
				return nil
			})
		}
		if err != nil {
			return nil, inObject(checkpoint, err)
		}
	}
	if !state || !ended {
		return nil, inObject(checkpoint, fmt.Errorf("%w: it is incomplete", ErrCorrupt))
	}
	return objects, nil
}
