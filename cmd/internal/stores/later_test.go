package stores

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

func parse(t *testing.T, lines string) *imapconf.File {
	t.Helper()
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: /x\n"+lines, "backupd")
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

// A partition that cannot be opened returns the reason when it is used; the others work.
func TestOpenWithOneUnopened(t *testing.T) {
	dir := t.TempDir()
	conf := parse(t, "backuppartition-bad: "+dir+"/nowhere/store\nbackuppartition-good: "+dir+"/store\n")
	parts, closer, err := Open(t.Context(), conf, Options{Later: true})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	for _, p := range parts {
		_, err := p.Store.Stat(t.Context(), "repository.json")
		want := objstore.ErrNotExist
		if p.Name == "bad" {
			want = objstore.ErrNoBucket
			if !strings.Contains(err.Error(), "backuppartition-bad") {
				t.Errorf("%v, want the option in it", err)
			}
		}
		if e := (*objstore.Error)(nil); !errors.Is(err, want) || !errors.As(err, &e) {
			t.Errorf("%s: %v, want %v", p.Name, err, want)
		}
	}
}

// A failed open is retried, but not by each operation. A hanging open does not block operations
// for long.
func TestLaterRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		free := make(chan struct{})
		l := newLater(t.Context(), func(ctx context.Context) (objstore.Store, error) {
			switch tries.Add(1) {
			case 1:
				return nil, objstore.ErrNoBucket
			case 2:
				<-free
			}
			return memstore.New(time.Now), nil
		})
		defer l.Close()
		for range 3 {
			if _, err := l.Stat(t.Context(), "x"); !errors.Is(err, objstore.ErrNoBucket) || objstore.IsTemporary(err) {
				t.Errorf("at first: %v", err)
			}
		}
		if n := tries.Load(); n != 1 {
			t.Errorf("%d attempts", n)
		}
		time.Sleep(openAgain)
		if _, err := l.Stat(t.Context(), "x"); !errors.Is(err, objstore.ErrNoBucket) {
			t.Errorf("while an attempt hangs: %v", err)
		}
		close(free)
		synctest.Wait()
		if _, err := l.Stat(t.Context(), "x"); !errors.Is(err, objstore.ErrNotExist) {
			t.Errorf("when it is open: %v", err)
		}
	})
}

func TestTwoPartitionsAtOneLocation(t *testing.T) {
	dir := t.TempDir()
	for _, two := range [][2]string{
		{dir + "/store", dir + "/./store/"},
		{"s3://bucket/a", "s3://bucket/a/?region=eu-west-1"},
		{"s3://bucket/a?endpoint=http://minio:9000", "minio://minio:9000/bucket/a?tls=no"},
	} {
		_, _, err := Locations(parse(t, "backuppartition-one: "+two[0]+"\nbackuppartition-two: "+two[1]+"\n"))
		if err == nil || !strings.Contains(err.Error(), "backuppartition-one") || !strings.Contains(err.Error(), "backuppartition-two") {
			t.Errorf("%v: %v, want an error that names both", two, err)
		}
	}
	for _, two := range [][2]string{
		{dir + "/store", dir + "/store2"},
		{"s3://bucket/a", "s3://bucket/b"},
		{"s3://bucket/a?endpoint=http://one:9000", "s3://bucket/a?endpoint=http://two:9000"},
	} {
		if _, _, err := Locations(parse(t, "backuppartition-one: "+two[0]+"\nbackuppartition-two: "+two[1]+"\n")); err != nil {
			t.Errorf("%v: %v", two, err)
		}
	}
}

// A reload tries new partitions before the process ends.
func TestTry(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "store"), filepath.Join(dir, "nowhere", "store")
	was := parse(t, "backuppartition-one: "+good+"\nbackuppartition-gone: "+bad+"\n")
	for lines, option := range map[string]string{
		"backuppartition-one: " + good + "\nbackuppartition-gone: " + bad:       "", // the old location did not work either
		"backuppartition-one: " + good + "\nbackuppartition-two: " + good + "2": "",
		"backuppartition-one: " + good + "\nbackuppartition-two: " + bad + "2":  "backuppartition-two",
		"backuppartition-one: " + bad + "2":                                     "backuppartition-one",
	} {
		err := Try(t.Context(), was, parse(t, lines+"\n"))
		if option == "" && err != nil || option != "" && (err == nil || !strings.Contains(err.Error(), option)) {
			t.Errorf("%q: %v, want %q in it", lines, err, option)
		}
	}
}
