package s3wire

import (
	"fmt"
	"iter"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// ListStart gives the start-after to ask for. Not every store likes one outside the
// prefix: one before it is none, and one behind it leaves nothing to list.
func ListStart(prefix, startAfter string) (after string, nothing bool) {
	switch {
	case startAfter < prefix:
		return "", false
	case strings.HasPrefix(startAfter, prefix):
		return startAfter, false
	}
	return "", true
}

// InOrder ends a listing with an error at the first key that is not greater than the
// one before it: callers that resume behind a key would lose objects silently. (S3
// directory buckets list in no order.)
func InOrder(prefix string, seq iter.Seq2[objstore.Info, error]) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		last := ""
		for info, err := range seq {
			if err == nil && info.Key <= last {
				err = &objstore.Error{Op: "list", Key: prefix, StoreTime: info.StoreTime,
					Err: fmt.Errorf("%w: keys come out of order: %q after %q", objstore.ErrUnsupported, info.Key, last)}
				info = objstore.Info{}
			}
			if !yield(info, err) || err != nil {
				return
			}
			last = info.Key
		}
	}
}
