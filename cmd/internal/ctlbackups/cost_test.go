package ctlbackups

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// costOfTwo runs cost on two partitions: one at AWS, one of a store whose price nobody knows.
func costOfTwo(t *testing.T, conf string, failing error, argv ...string) (string, error) {
	t.Helper()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	hot, cold := memstore.New(clock), memstore.New(clock)
	put := func(s *memstore.Store, key string, n int) {
		if _, err := s.Put(t.Context(), key, bytes.NewReader(make([]byte, n)), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put(hot, "packs/aa/old.tar.zst", 3e6)
	put(hot, "backups/user/anne/log/0000000000000001.tar.zst", 2000)
	now = now.Add(40 * 24 * time.Hour)
	put(hot, "backups/user/anne/log/0000000000000002.tar.zst", 1000)
	put(hot, "backups/user/bert/log/0000000000000001.tar.zst", 500)
	totals := `{"version":1,"time":"2026-12-10T00:00:00Z","condemned":{"packs":1,"bytes":2000000},"young":{"packs":2,"bytes":500000}}`
	if _, err := hot.Put(t.Context(), collection.ResultKey, strings.NewReader(totals), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	put(cold, "set-aside/user/anne/20261101T000000Z/log/0000000000000001.tar.zst", 70000)
	cold.SetFaults(func(string, string) error { return failing }, nil)
	var out, errs bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) {
		b := tooltest.New(t, "hot").Bucket(conf)
		return cli.NewBucket(b.Conf, []repository.Config{
			{Name: "hot", Location: "s3://mail/hot?region=eu-central-1", Store: hot},
			{Name: "cold", Location: "/srv/cold", Store: cold},
		}), nil
	}
	c := &command{ctx: t.Context(), open: open, now: now, clock: clock, in: strings.NewReader(""), out: &out, err: &errs}
	err := c.run(append([]string{"cost"}, argv...))
	return out.String() + errs.String(), err
}

func TestCostGolden(t *testing.T) {
	for name, argv := range map[string][]string{
		"cost.txt":         nil,
		"cost-human.txt":   {"-h"},
		"cost-backups.txt": {"--backups"},
		"cost.ndjson":      {"--ndjson", "--backups"},
	} {
		out, err := costOfTwo(t, "", nil, argv...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		tooltest.Golden(t, name, out)
	}
}

// Configured prices replace the built-in ones, for every store.
func TestCostPrices(t *testing.T) {
	out, err := costOfTwo(t, "backup_prices: EUR storage=1000 put=10000\n", nil, "-j")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(out))
	for _, want := range []price{{"EUR", 2.797337, 30}, {"EUR", 0.065193, 10}} {
		var got costOf
		if err := d.Decode(&got); err != nil || got.Price == nil || *got.Price != want {
			t.Errorf("%+v, %v, want %+v", got.Price, err, want)
		}
	}
}

// A partition that cannot be read does not hide the others.
func TestCostUnreachable(t *testing.T) {
	out, err := costOfTwo(t, "", &objstore.Error{Op: "list", Err: errors.New("no route")})
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "hot") || !strings.Contains(out, "partition cold: ") {
		t.Errorf("%v\n%s", err, out)
	}
}
