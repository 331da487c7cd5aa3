package repository

import (
	"context"
	"time"
)

// Relist lists the objects of a backup with one request, so that Listed answers from it. It returns
// a Found without objects if the backup is gone.
func (f *Found) Relist(ctx context.Context) (*Found, error) {
	l := &listing{path: f.Path, at: time.Now()}
	for info, err := range f.Partition.Store.List(ctx, BackupPrefix(f.Path), "") {
		if err != nil {
			return nil, err
		}
		if l.rest = len(l.keys) == mostListed; l.rest {
			break
		}
		l.keys = append(l.keys, info)
	}
	g := *f
	g.listed = l
	return &g, nil
}
