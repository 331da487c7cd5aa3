package ctlbackups

import (
	"net/url"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// sharesStorage reports whether a place is in the same bucket as a partition, or one of two directories is in the other:
// whoever can write to the partition can then probably write there, too.
func sharesStorage(l objstore.Location, partition string) bool {
	p, err := objstore.ParseLocation(partition)
	if err != nil {
		return false
	}
	if l.Scheme == objstore.Dir || p.Scheme == objstore.Dir {
		return l.Scheme == p.Scheme && (within(l.Path, p.Path) || within(p.Path, l.Path))
	}
	return l.Bucket == p.Bucket && endpointHost(l) == endpointHost(p)
}

// within reports whether a directory is, or is in, another one.
func within(dir, other string) bool {
	rel, err := filepath.Rel(resolved(other), resolved(dir))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// resolved follows symbolic links as far as the path exists.
func resolved(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return dir
	}
	return filepath.Join(resolved(parent), filepath.Base(dir))
}

// endpointHost is the host and port that both drivers for S3 use; "" = AWS.
func endpointHost(l objstore.Location) string {
	if u, err := url.Parse(l.Endpoint); err == nil && u.Host != "" {
		return strings.ToLower(u.Host)
	}
	return strings.ToLower(l.Endpoint)
}
