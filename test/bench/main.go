// Command bench measures whole servers in one run: our backupd on a directory and on MinIO,
// Debian's backupd (Cyrus Backups), Cyrus's sync_server, restic, borg, and the floor: what the
// bytes cost at least.
//
//	go run ./test/bench --bin bin --minio .cache/bin/minio --mail testdata/mail --docs docs/benchmarks.md
//	go run ./test/bench --against HEAD~5 --minio .cache/bin/minio
//
// Programs take turns, each repetition on a fresh server; figures are medians. Other work on the
// machine disturbs wall clock time more than CPU time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	bin, minio, mail, cyrus string
	workloads, sizes        string
	reps, users, backups    int
	full                    bool
	limit                   time.Duration
	level, conf             string
	out, docs, against      string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == floorVerb {
		return measureFloor(args[1], os.Stdout)
	}
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.against != "" {
		return compare(ctx, o, os.Stdout)
	}
	return measure(ctx, o, os.Stdout)
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.bin, "bin", "bin", "directory with our programs")
	f.StringVar(&o.minio, "minio", "", "MinIO's program; empty: no MinIO server")
	f.StringVar(&o.cyrus, "cyrus", "/usr/lib/cyrus/bin", "directory with Debian's backupd, sync_server, sync_client and restore")
	f.StringVar(&o.mail, "mail", "", "directory with sample mail; empty: no workload sample")
	f.StringVar(&o.workloads, "workloads", "", "which workloads, separated by commas: "+strings.Join(names(workloads()), ", ")+" (empty: all; with --against: "+quick+")")
	f.StringVar(&o.sizes, "sizes", "", "workload scale: numbers of messages (empty: "+allSizes+"; with --against: "+quickSizes+")")
	f.IntVar(&o.users, "users", 0, "workload users: how many (0: 1000; with --against: 100)")
	f.IntVar(&o.backups, "backups", 0, "workload compact: how many backups of 10,000 messages (0: 100; with --full: 1000)")
	f.IntVar(&o.reps, "reps", 0, "repetitions; the median counts (0: 3; with --against: 5)")
	f.BoolVar(&o.full, "full", false, "repeat the largest workloads as well, and reindex 1,000 backups of 10,000 messages instead of 100")
	f.DurationVar(&o.limit, "limit", 30*time.Minute, "time limit of one repetition of a workload")
	f.StringVar(&o.level, "compression", "", "backup_compression of our backupd (empty: the default)")
	f.StringVar(&o.conf, "conf", "", "more lines for our imapd.conf, separated by ;")
	f.StringVar(&o.out, "out", "", "all figures, as JSON")
	f.StringVar(&o.docs, "docs", "", "Markdown file whose tables are replaced")
	f.StringVar(&o.against, "against", "", "compare with this commit: build it, alternate the two, exit with 1 if something became worse")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.reps < 0 || o.users < 0 || o.backups < 0 {
		return o, errors.New("--reps, --users and --backups: a positive number, or 0 for the default")
	}
	o.defaults()
	if _, err := o.mailboxes(); err != nil {
		return o, err
	}
	return o, o.resolve()
}

const (
	allSizes   = "1000,10000,20000,100000,600000,1000000"
	quickSizes = "20000,100000"
	quick      = "small,peers,scale,users"
)

func (o *options) defaults() {
	set := func(s *string, all, few string) {
		if *s == "" {
			*s = all
			if o.against != "" {
				*s = few
			}
		}
	}
	number := func(n *int, all, few int) {
		if *n == 0 {
			*n = all
			if o.against != "" {
				*n = few
			}
		}
	}
	set(&o.workloads, strings.Join(names(workloads()), ","), quick)
	set(&o.sizes, allSizes, quickSizes)
	number(&o.users, 1000, 100)
	number(&o.reps, 3, 5)
	if o.full {
		number(&o.backups, 1000, 1000)
	}
	number(&o.backups, 100, 100)
}

// resolve makes all paths absolute, because programs run in other directories.
func (o *options) resolve() error {
	var errs []error
	for _, p := range []*string{&o.bin, &o.minio, &o.mail, &o.cyrus, &o.out, &o.docs} {
		if *p != "" {
			abs, err := filepath.Abs(*p)
			*p, errs = abs, append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mailboxes returns the sizes of workload scale.
func (o *options) mailboxes() (sizes []int, err error) {
	for s := range strings.SplitSeq(o.sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("--sizes: %q is no number of messages", s)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}
