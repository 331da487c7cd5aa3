package s3wire

import (
	"fmt"
	"iter"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// ListStart returns the start-after for a request. Not every store accepts a start-after
// outside the prefix. One before the prefix is omitted, and after one past the prefix
// nothing is left to list.
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
// previous one: callers that resume after a key would silently lose objects. (S3 directory
// buckets list without order.)
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
