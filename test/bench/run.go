package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// all returns the workloads in the order of the document.
func workloads() []workload {
	return append(syncWorkloads(),
		workload{name: "peers", run: againstPeers, table: record.Table{Reference: "restic"}},
		workload{name: "scale", run: scale, table: record.Table{Reference: count(20000)}},
		workload{name: "mailboxes", run: manyMailboxes},
		workload{name: "users", run: manyUsers},
		workload{name: "reindex", run: rebuild},
		workload{name: "syncclient", run: realClient, table: record.Table{Reference: string(debian)}},
		workload{name: "restore", run: intoCyrus, table: record.Table{Reference: string(debian)}},
		workload{name: "onemessage", run: oneMessage},
		workload{name: "compact", run: compactSite},
		workload{name: "year", run: aYear},
		workload{name: "clients", run: manyClients, table: record.Table{Reference: floorOfCores}},
		workload{name: "beside", run: beside},
	)
}

func names(all []workload) (n []string) {
	for _, w := range all {
		n = append(n, w.name)
	}
	return n
}

// selected returns the workloads that the options name.
func (l *lab) selected() (some []workload, err error) {
	all := workloads()
	for name := range strings.SplitSeq(l.workloads, ",") {
		i := slices.IndexFunc(all, func(w workload) bool { return w.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no workload %q (%s)", name, strings.Join(names(all), ", "))
		}
		some = append(some, all[i])
	}
	return some, nil
}

// measure runs the workloads and reports their tables. A workload that fails does not stop the
// others.
func measure(ctx context.Context, o options, out io.Writer) error {
	l, err := openLab(o, os.Stderr, build{"", o.bin})
	if err != nil {
		return err
	}
	d := &document{options: o, facts: machineFacts()}
	err = l.runSelected(ctx, func(t *record.Table, complete bool) error {
		if len(t.Rows) == 0 {
			return nil
		}
		if _, err := fmt.Fprintf(out, "\n%s\n%s", t.Name, t.Markdown()); err != nil || !complete {
			return err
		}
		return d.add(t)
	})
	return errors.Join(err, l.close())
}

// runSelected runs the selected workloads, and calls done with the table of each.
func (l *lab) runSelected(ctx context.Context, done func(t *record.Table, complete bool) error) error {
	some, err := l.selected()
	if err != nil {
		return err
	}
	return l.runAll(ctx, some, done)
}

// runAll returns the errors of the workloads that failed, after it has run the others.
func (l *lab) runAll(ctx context.Context, some []workload, done func(t *record.Table, complete bool) error) error {
	var failed []error
	for _, w := range some {
		w.table.Name = w.name
		err := l.runOne(ctx, &w)
		if err != nil {
			l.progress("%s FAILED: %v", w.name, err)
			failed = append(failed, fmt.Errorf("workload %s: %w", w.name, err))
		}
		failed = append(failed, done(&w.table, err == nil))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

func (l *lab) runOne(ctx context.Context, w *workload) error {
	for rep := range l.reps {
		ctx, stop := context.WithTimeoutCause(ctx, l.limit, fmt.Errorf("not done after %v (--limit)", l.limit))
		err := w.run(ctx, l, &w.table, rep)
		if err != nil && ctx.Err() != nil {
			err = errors.Join(err, context.Cause(ctx))
		}
		stop()
		if err != nil {
			return err
		}
		l.progress("%s, %d of %d", w.name, rep+1, l.reps)
	}
	return nil
}

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
