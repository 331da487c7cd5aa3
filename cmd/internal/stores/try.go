package stores

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// tryTime is how long a new partition may take to answer.
const tryTime = 10 * time.Second

// Try finds out whether the partitions that conf has and was has not can be used: their
// keys are found and they answer for repository.json, which no other partition has. A
// partition that was there before may be unreachable: that is no reason to refuse the others.
func Try(ctx context.Context, was, conf *imapconf.File) error {
	names, at, err := Locations(conf)
	if err != nil {
		return err
	}
	_, before, _ := Locations(was) // what is wrong there is mended now
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	ids, errs := make([]string, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { ids[i], errs[i] = ask(ctx, conf, name, at[name]) })
	}
	all.Wait()
	first := map[string]string{}
	sameKeys := was.String("backup_credentials_file") == conf.String("backup_credentials_file")
	for i, name := range names {
		if before[name] == at[name] && sameKeys {
			errs[i] = nil
		}
		if other := first[ids[i]]; other != "" && ids[i] != "" {
			errs[i] = fmt.Errorf("the location is repository %s, which partition %s already uses: two partitions cannot share a repository", ids[i], other)
		}
		first[ids[i]] = name
		if errs[i] != nil {
			errs[i] = conf.Errorf(prefix+name, "%w", errs[i])
		}
	}
	return errors.Join(errs...)
}

// ask returns the id of the repository in a place; "" when there is none yet.
func ask(ctx context.Context, conf *imapconf.File, name string, at objstore.Location) (id string, err error) {
	p, closer, err := OpenOne(ctx, name, at, Options{Patience: tryTime / 2}.from(conf))
	if err != nil {
		return "", err
	}
	defer closer.Close()
	return repository.ID(ctx, p)
}
