package stores

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/objstore"
)

// Inspect opens the store of a partition to report the settings of its bucket; nil for a directory.
// It sends no requests. Keys are full keys, with the prefix of the location.
func Inspect(ctx context.Context, conf *imapconf.File, name string, l objstore.Location) (objstore.Inspector, error) {
	if l.Scheme == objstore.Dir {
		return nil, nil
	}
	s, err := openStore(ctx, name, l, Options{}.from(conf))
	if err != nil {
		return nil, conf.Errorf(prefix+name, "%w", err)
	}
	i, ok := s.(objstore.Inspector)
	if !ok {
		return nil, fmt.Errorf("the driver of %s cannot report settings", l)
	}
	return i, nil
}
