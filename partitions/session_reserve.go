package partitions

import (
	"context"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Reserve says which messages the client has to upload.
func (x *Session) Reserve(ctx context.Context, _ string, names []string, guids []cyrus.GUID) (missing []cyrus.GUID, err error) {
	defer x.enter()(&err)
	ctx = x.set.brief(ctx)
	if len(names) > 0 {
		if _, _, err := x.open(ctx, x.set.NameOf(names[0])); err != nil {
			return nil, err
		}
	}
	if err := x.staging.settle(); err != nil {
		return nil, err
	}
	s, err := x.scope(ctx)
	if err != nil {
		return nil, err
	}
	err = x.set.index.View(func(t *index.Txn) error {
		f := x.finder(t, s)
		for _, g := range guids {
			m, err := f.find(g)
			if err != nil {
				return err
			}
			if m == nil || m.missing {
				missing = append(missing, g)
			}
		}
		return nil
	})
	return missing, err
}
