package ctlbackups

import (
	"os"
	"path/filepath"
	"testing"
)

// The copy of the lists is in no bucket or directory of a partition, whatever it is called.
func TestSharesStorage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "p"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "p"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to, partition string
		want          bool
	}{
		{"s3://bkt/lists?region=eu-west-1", "s3://bkt/cyrus?region=eu-west-1", true},
		{"s3://bkt/lists?profile=other", "s3://bkt", true},
		{"s3://lists?region=eu-west-1", "s3://bkt/lists?region=eu-west-1", false},
		{"s3://bkt/lists?endpoint=http://m.example.org:9000", "minio://m.example.org:9000/bkt/cyrus?tls=no", true},
		{"s3://bkt/lists?endpoint=http://n.example.org:9000", "minio://m.example.org:9000/bkt/cyrus?tls=no", false},
		{"s3://bkt", dir + "/p", false},
		{dir + "/p", dir + "/p", true},
		{dir + "/p/lists/new", dir + "/p", true},
		{dir + "/link/lists", dir + "/p", true},
		{dir, dir + "/p", true},
		{dir + "/pq", dir + "/p", false},
		{dir + "/..p", dir, true},
	} {
		l, err := location(c.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := sharesStorage(l, c.partition); got != c.want {
			t.Errorf("%s in %s: %v", c.to, c.partition, got)
		}
	}
}
