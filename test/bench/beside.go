package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// beside measures the memory of one APPLY MAILBOX with many records, while 64 clients make their
// first syncs.
func beside(ctx context.Context, l *lab, t *record.Table, rep int) error {
	if rep > 0 && !l.full {
		return nil
	}
	n := 200_000
	if l.full {
		n = 1_000_000
	}
	pushes := []mail{
		{source: fmt.Sprintf("gen:%d:600", n), user: "large"},
		{source: fmt.Sprintf("gen:%d:5k", together/64), users: 64, connections: 64},
	}
	for _, sub := range l.subjects(dirStore) {
		err := l.once(ctx, sub, setup{}, func(s *server) error {
			var wg sync.WaitGroup
			errs := make([]error, len(pushes))
			for i, m := range pushes {
				wg.Go(func() { _, errs[i] = l.push(ctx, s, m) })
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				return err
			}
			peak, err := s.peak()
			t.Add(count(n)+" records in one APPLY beside 64 clients", s.column(), record.PeakRSS, peak)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
