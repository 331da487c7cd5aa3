package main

import (
	"context"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// step is one push of a workload.
type step struct {
	work string
	mail mail
}

// pushes returns a workload that pushes the same mail to fresh servers.
func pushes(set setup, kinds []kind, steps ...step) func(context.Context, *lab, *record.Table, int) error {
	return func(ctx context.Context, l *lab, t *record.Table, _ int) error {
		for _, sub := range l.subjects(kinds...) {
			err := l.once(ctx, sub, set, func(s *server) error {
				for i, x := range steps {
					if sub.kind == null && i > 0 {
						break // it keeps nothing, so that all is new
					}
					x.mail.compress = set.compress
					p, err := l.push(ctx, s, x.mail)
					if err != nil {
						return err
					}
					p.add(t, x.work, s)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
}

const (
	small     = "20,000 x 5 KB"
	smallMail = "gen:20000:5k"
	smallN    = 20000
)

func syncWorkloads() []workload {
	all := []kind{null, debian, replica, dirStore, minio}
	w := []workload{
		{name: "small", run: pushes(setup{}, all,
			step{small, mail{source: smallMail}},
			step{"nothing new", mail{source: smallMail}},
			step{"100 new", mail{source: "gen:20100:5k"}})},
		{name: "big", run: pushes(setup{}, all, step{"500 x 1 MB", mail{source: "gen:500:1M"}})},
		{name: "compressed", run: pushes(setup{compress: true}, []kind{null, debian, dirStore, minio},
			step{"5,000 x 5 KB", mail{source: "gen:5000:5k"}})},
		{name: "sample", run: func(ctx context.Context, l *lab, t *record.Table, rep int) error {
			if l.mail == "" {
				return nil
			}
			return pushes(setup{}, all, step{"testdata/mail", mail{source: l.mail}})(ctx, l, t, rep)
		}},
	}
	for i := range w {
		w[i].table.Reference = string(debian)
	}
	return w
}
