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
	return func(yield func(Place, error) bool) {
		commits := 0
		for e, err := range entriesOf(ctx, s, key) {
			switch {
			case err != nil:
			case path.Base(e.name) == commitEntry:
				commits++
				err = checkFirstLine(e, versionErased)
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

// checkFirstLine refuses an entry of an unknown version.
func checkFirstLine(e entry, newest int) error {
	line, err := newLines(e.body, e.size).next()
	if err != nil {
		return fmt.Errorf("%w: %s has no first line: %w", ErrCorrupt, e.name, err)
	}
	return checkVersion(line, newest)
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
