package main

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

const (
	together     = 19200 // messages of all clients
	allTogether  = "first syncs of 19,200 x 5 KB"
	floorOfCores = "floor, all cores"
)

// manyClients measures first syncs at the same time. The columns are numbers of clients.
func manyClients(ctx context.Context, l *lab, t *record.Table, _ int) error {
	if !l.comparing() {
		dir, err := l.maildir(ctx, fmt.Sprintf("gen:%d:5k", together))
		if err != nil {
			return err
		}
		f, err := l.floor(ctx, dir)
		if err != nil {
			return err
		}
		t.Add(allTogether, floorOfCores, record.Wall, f.All)
		t.Add(allTogether, floorOfCores, record.Rate, together/f.All)
		t.Add(allTogether, floorOfCores, record.ServerCPU, f.Processor)
	}
	for _, n := range []int{8, 64} {
		m := mail{source: fmt.Sprintf("gen:%d:5k", together/n), users: n, connections: n}
		for _, sub := range l.subjects(null, dirStore, minio) {
			err := l.once(ctx, sub, setup{connections: n}, func(s *server) error {
				p, err := l.push(ctx, s, m)
				if err != nil {
					return err
				}
				addClients(t, n, s, p)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func clientsColumn(n int, k kind) string { return fmt.Sprintf("%d clients, %s", n, k) }

func addClients(t *record.Table, n int, s *server, p push) {
	column := clientsColumn(n, s.kind) + s.suffix
	t.Add(allTogether, column, record.Wall, p.Seconds)
	t.Add(allTogether, column, record.Rate, float64(p.Messages)/p.Seconds)
	t.Add(allTogether, column, record.ServerCPU, p.serverCPU)
	t.Add(allTogether, column, record.ClientCPU, p.clientCPU)
	if s.store != nil {
		t.Add(allTogether, column, record.StoreCPU, p.storeCPU)
	}
	t.Add(allTogether, column, record.PeakRSS, p.peak)
}
