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

// tryTime limits the time for a new partition to answer.
const tryTime = 10 * time.Second

// Try checks that the partitions in conf that are not in was can be used: their credentials
// are found, and they answer with a repository.json that no other partition has. Partitions in
// both may be unreachable: Try does not reject conf because of them.
func Try(ctx context.Context, was, conf *imapconf.File) error {
	names, at, err := Locations(conf)
	if err != nil {
		return err
	}
	_, before, _ := Locations(was) // conf replaces it, with its errors
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

// ask returns the id of the repository at a location; "" if there is none yet.
func ask(ctx context.Context, conf *imapconf.File, name string, at objstore.Location) (id string, err error) {
	p, closer, err := OpenOne(ctx, name, at, Options{Retry: tryTime / 2}.from(conf))
	if err != nil {
		return "", err
	}
	defer closer.Close()
	return repository.ID(ctx, p)
}
