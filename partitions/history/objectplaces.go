package history

import (
	"context"
	"iter"
	"path"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// ObjectPlaces yields the places in an object of a backup's log or records/, in order,
// with "." replaced by the key. It does not parse events or check hashes of commits.
func ObjectPlaces(ctx context.Context, s objstore.Store, key string) iter.Seq2[Place, error] {
	return func(yield func(Place, error) bool) {
		for e, err := range entriesOf(ctx, s, key) {
			if err != nil {
				yield(Place{}, err)
				return
			}
			if path.Base(e.name) != placesEntry && !strings.HasSuffix(e.name, "."+placeBlocks) {
				continue
			}
			stopped := false
			err := eachPlace(e.body, key, func(p Place) error {
				if !yield(p, nil) {
					stopped = true
					return errStop
				}
				return nil
			})
			if stopped {
				return
			}
			if err != nil {
				yield(Place{}, inObject(key, err))
				return
			}
		}
	}
}
