package objstore_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/objstore"
)

func TestParseLocation(t *testing.T) {
	for text, want := range map[string]struct {
		loc       objstore.Location
		canonical string // "" if equal to text
	}{
		"/var/spool/backup":    {loc: objstore.Location{Scheme: objstore.Dir, Path: "/var/spool/backup"}},
		"/var//spool/../back/": {objstore.Location{Scheme: objstore.Dir, Path: "/var/back"}, "/var/back"},
		"s3://mail-backup":     {loc: objstore.Location{Scheme: objstore.S3, Bucket: "mail-backup"}},
		"s3://mail-backup/a/b/?region=eu-central-1&profile=backup": {
			objstore.Location{Scheme: objstore.S3, Bucket: "mail-backup", Prefix: "a/b", Region: "eu-central-1", Profile: "backup"},
			"s3://mail-backup/a/b?profile=backup&region=eu-central-1"},
		"s3://b.c/p?endpoint=https://S3.example.org:9000/&content_md5=yes": {
			objstore.Location{Scheme: objstore.S3, Bucket: "b.c", Prefix: "p", Endpoint: "https://s3.example.org:9000", PathStyle: true, ContentMD5: true},
			"s3://b.c/p?content_md5=yes&endpoint=https%3A%2F%2Fs3.example.org%3A9000"},
		"s3://bkt?endpoint=http%3A%2F%2F10.0.0.1&path_style=no": {
			loc: objstore.Location{Scheme: objstore.S3, Bucket: "bkt", Endpoint: "http://10.0.0.1"}},
		"s3://bkt/a%40b":          {loc: objstore.Location{Scheme: objstore.S3, Bucket: "bkt", Prefix: "a@b"}},
		"s3://bkt?path_style=yes": {loc: objstore.Location{Scheme: objstore.S3, Bucket: "bkt", PathStyle: true}},
		"minio://minio:9000/bkt":  {loc: objstore.Location{Scheme: objstore.MinIO, Endpoint: "minio:9000", Bucket: "bkt", TLS: true}},
		"minio://[::1]:9000/bkt/pre%20fix?tls=no&region=x&ca=/etc/ca.pem": {
			objstore.Location{Scheme: objstore.MinIO, Endpoint: "[::1]:9000", Bucket: "bkt", Prefix: "pre fix", Region: "x", CAFile: "/etc/ca.pem"},
			"minio://[::1]:9000/bkt/pre%20fix?ca=%2Fetc%2Fca.pem&region=x&tls=no"},
		"minio://s3.example.org/bkt/%C3%BC?tls=yes": {
			objstore.Location{Scheme: objstore.MinIO, Endpoint: "s3.example.org", Bucket: "bkt", Prefix: "ü", TLS: true},
			"minio://s3.example.org/bkt/%C3%BC"},
	} {
		loc, err := objstore.ParseLocation(text)
		if err != nil || loc != want.loc {
			t.Errorf("%s: %+v, %v; want %+v", text, loc, err, want.loc)
			continue
		}
		canonical := want.canonical
		if canonical == "" {
			canonical = text
		}
		if loc.String() != canonical {
			t.Errorf("%s: canonical form %s, want %s", text, loc, canonical)
		}
		if again, err := objstore.ParseLocation(loc.String()); err != nil || again != loc {
			t.Errorf("%s: canonical form is read as %+v, %v", text, again, err)
		}
	}
}

func TestParseLocationRefuses(t *testing.T) {
	for text, words := range map[string]string{
		"":                                    "location must be",
		"relative/path":                       "location must be",
		"file:///x":                           "location must be",
		"http://host/bucket":                  "location must be",
		"/":                                   "root directory",
		"s3://":                               "bucket name",
		"s3://x":                              "bucket name",
		"s3://bkt/a//b":                       "prefix",
		"s3://bkt/a/../b":                     "prefix",
		"s3://bkt/%zz":                        "%-escape",
		"s3://bkt?regoin=x":                   "unknown query key regoin; allowed are region, endpoint, profile, path_style, ca, content_md5",
		"s3://bkt?tls=no":                     "allowed are",
		"s3://bkt?region=a&region=b":          "given twice",
		"s3://bkt?region=a/b":                 "region must be",
		"s3://bkt?endpoint=host:9000":         "endpoint must be http",
		"s3://bkt?endpoint=ftp://host":        "endpoint must be http",
		"s3://bkt?endpoint=http://host/path":  "endpoint: host",
		"s3://bkt?path_style=maybe":           "path_style must be yes or no",
		"s3://bkt?ca=relative.pem":            "absolute path",
		"minio://minio:9000":                  "bucket name",
		"minio://minio:99999/bkt":             "port",
		"minio:///bkt":                        "host",
		"minio://mi nio/bkt":                  "host",
		"minio://minio/bkt?endpoint=http://x": "allowed are tls, region, profile, ca, content_md5",
	} {
		loc, err := objstore.ParseLocation(text)
		if err == nil || !strings.Contains(err.Error(), words) || loc != (objstore.Location{}) {
			t.Errorf("%q: %+v, %v; want an error with %q", text, loc, err, words)
		}
	}
}

// TestLocationSecrets: a location with a secret is refused, and the error does not contain
// the secret.
func TestLocationSecrets(t *testing.T) {
	const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	for _, text := range []string{
		"s3://AKIAEXAMPLE:" + secret + "@bkt/prefix",
		"s3://" + secret + "@bkt",
		"minio://AKIAEXAMPLE:" + secret + "@minio:9000/bkt",
		"minio://AKIAEXAMPLE:pass" + secret[:8] + "@minio:9000/bkt",
		"s3://bkt?secret_access_key=" + secret,
		"s3://bkt?aws_secret_access_key=" + secret,
		"s3://bkt?access_key=AKIAEXAMPLE",
		"s3://bkt?session_token=" + secret,
		"s3://bkt?" + secret,
		"s3://bkt?" + secret + "=x",
		"s3://bkt?endpoint=https://AKIAEXAMPLE:" + secret[:12] + "@host",
		"minio://minio/bkt?password=" + secret,
		"minio://minio/bkt?secretkey=" + secret,
		"minio://minio/bkt?tls=" + secret,
		"s3://bkt?region=" + secret,
		"s3://bkt/a//" + secret,
		secret,
	} {
		_, err := objstore.ParseLocation(text)
		if err == nil {
			t.Errorf("%s: taken", text)
			continue
		}
		for _, part := range []string{secret, secret[:8], "AKIAEXAMPLE"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error contains the secret: %v", text, err)
			}
		}
	}
}

func FuzzParseLocation(f *testing.F) {
	for _, text := range []string{"/a/b", "s3://bkt/a?region=x", "minio://h:1/bkt/%20?tls=no", "s3://bkt?endpoint=http://[::1]:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		defer fuzztest.Limit(t, 256<<10+4<<10*int64(len(text)))()
		loc, err := objstore.ParseLocation(text)
		if err != nil {
			return
		}
		if again, err := objstore.ParseLocation(loc.String()); err != nil || again != loc {
			t.Errorf("%q: %+v; its canonical form %q is read as %+v, %v", text, loc, loc, again, err)
		}
	})
}
