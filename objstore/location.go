package objstore

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Scheme names the driver of a Location.
type Scheme string

// The schemes that ParseLocation knows.
const (
	Dir   Scheme = "dir"   // written as a plain absolute path
	S3    Scheme = "s3"    // s3://bucket/prefix?…
	MinIO Scheme = "minio" // minio://host:port/bucket/prefix?…
)

// Location is the storage of a partition: the value of a backuppartition-NAME. It never
// contains a secret. Two locations are the same if they are ==.
type Location struct {
	Scheme   Scheme
	Path     string // Dir: absolute and clean
	Bucket   string // S3, MinIO
	Prefix   string // S3, MinIO: "" or a key prefix without slashes at its ends
	Endpoint string // S3: http(s)://host[:port], "" for AWS itself. MinIO: host[:port]
	Region   string // "" leaves it to the driver
	Profile  string // of the shared credentials file
	CAFile   string // PEM, absolute; trusted in addition to (S3: instead of) the system's
	// PathStyle puts the bucket in the path of the URL instead of its host name. By default
	// it is set for S3 with an endpoint. The minio driver decides by itself.
	PathStyle bool
	TLS       bool // MinIO; on by default
	// ContentMD5 sends Content-MD5 with every put: buckets with a default Object Lock
	// retention require it, and over TLS it checks the whole body.
	ContentMD5 bool
}

// ParseLocation reads a location. Its errors never contain the text, because that may
// contain a secret by mistake. The caller adds file, line and option.
func ParseLocation(s string) (Location, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case strings.HasPrefix(s, "/"):
		return parseDir(s)
	case ok && Scheme(scheme) == S3:
		return parseS3(rest)
	case ok && Scheme(scheme) == MinIO:
		return parseMinIO(rest)
	}
	return Location{}, errors.New("location must be /path, s3://bucket/prefix?key=value or minio://host:port/bucket/prefix?key=value")
}

func parseDir(s string) (Location, error) {
	if strings.ContainsRune(s, 0) {
		return Location{}, errors.New("location: the path contains a NUL byte")
	}
	p := path.Clean(s)
	if p == "/" {
		return Location{}, errors.New("location: the root directory cannot be a partition")
	}
	return Location{Scheme: Dir, Path: p}, nil
}

func parseS3(rest string) (Location, error) {
	l := Location{Scheme: S3}
	authority, p, query := split(rest)
	if err := l.setBucket(authority, p); err != nil {
		return Location{}, err
	}
	q, err := parseQuery(query, "region", "endpoint", "profile", "path_style", "ca", "content_md5")
	if err != nil {
		return Location{}, err
	}
	if err := l.setCommon(q); err != nil {
		return Location{}, err
	}
	if l.Endpoint, err = parseEndpoint(q["endpoint"]); err != nil {
		return Location{}, err
	}
	l.PathStyle, err = yesNo(q, "path_style", l.Endpoint != "")
	return orZero(l, err)
}

func parseMinIO(rest string) (Location, error) {
	l := Location{Scheme: MinIO}
	authority, p, query := split(rest)
	if err := checkHostPort(authority); err != nil {
		return Location{}, fmt.Errorf("location: %w", err)
	}
	l.Endpoint = strings.ToLower(authority)
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	if err := l.setBucket(bucket, prefix); err != nil {
		return Location{}, err
	}
	q, err := parseQuery(query, "tls", "region", "profile", "ca", "content_md5")
	if err != nil {
		return Location{}, err
	}
	if err := l.setCommon(q); err != nil {
		return Location{}, err
	}
	l.TLS, err = yesNo(q, "tls", true)
	return orZero(l, err)
}

func orZero(l Location, err error) (Location, error) {
	if err != nil {
		return Location{}, err
	}
	return l, nil
}

// split parses the text after "scheme://" without decoding it.
func split(rest string) (authority, p, query string) {
	rest, query, _ = strings.Cut(rest, "?")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i:], query
	}
	return rest, "", query
}

var (
	bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$`)
	regionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

func (l *Location) setBucket(bucket, prefix string) error {
	// A secret may contain slashes, so s3://id:secret@bucket may look like a prefix. A
	// prefix with an @ must be written with %40.
	if strings.ContainsAny(bucket, "@:") || strings.Contains(prefix, "@") {
		return errSecret
	}
	if !bucketName.MatchString(bucket) {
		return errors.New("location: bucket name must be 3 to 255 letters, digits, dots, dashes and underscores")
	}
	l.Bucket = bucket
	prefix, err := url.PathUnescape(strings.Trim(prefix, "/"))
	if err != nil {
		return errors.New("location: bad %-escape in the prefix")
	}
	if prefix != "" && CheckKey(prefix) != nil {
		return errors.New("location: prefix must be a path of visible characters without empty, . and .. components")
	}
	l.Prefix = prefix
	return nil
}

func (l *Location) setCommon(q map[string]string) (err error) {
	l.Region, l.Profile, l.CAFile = q["region"], q["profile"], q["ca"]
	if l.Region != "" && !regionName.MatchString(l.Region) {
		return errors.New("location: region must be letters, digits, dashes and underscores")
	}
	if strings.ContainsAny(l.Profile, "\x00\r\n[]") {
		return errors.New("location: the profile contains a character that is invalid in a credentials file")
	}
	if l.CAFile != "" && !strings.HasPrefix(l.CAFile, "/") {
		return errors.New("location: ca must be an absolute path of a PEM file")
	}
	l.ContentMD5, err = yesNo(q, "content_md5", false)
	return err
}

func parseEndpoint(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	scheme, host, ok := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" {
		return "", errors.New("location: endpoint must be http://host:port or https://host:port")
	}
	host = strings.TrimSuffix(host, "/")
	if err := checkHostPort(host); err != nil {
		return "", fmt.Errorf("location: endpoint: %w", err)
	}
	return scheme + "://" + strings.ToLower(host), nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

func checkHostPort(s string) error {
	if strings.Contains(s, "@") {
		return errSecret
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, "443" // no port: the default of the scheme
		if inner, ok := strings.CutPrefix(s, "["); ok {
			host = strings.TrimSuffix(inner, "]")
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("port must be a number from 1 to 65535")
	}
	if !hostName.MatchString(host) && net.ParseIP(host) == nil {
		return errors.New("host must be a name or an address")
	}
	return nil
}

func yesNo(q map[string]string, key string, unset bool) (bool, error) {
	switch q[key] {
	case "":
		return unset, nil
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("location: %s must be yes or no", key)
}

// String returns the canonical text: ParseLocation of it returns the same Location.
func (l Location) String() string {
	if l.Scheme == Dir {
		return l.Path
	}
	var b strings.Builder
	b.WriteString(string(l.Scheme) + "://")
	if l.Scheme == MinIO {
		b.WriteString(l.Endpoint + "/")
	}
	b.WriteString(l.Bucket)
	if l.Prefix != "" {
		b.WriteString("/" + strings.ReplaceAll((&url.URL{Path: l.Prefix}).EscapedPath(), "@", "%40"))
	}
	q := url.Values{}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	set("region", l.Region)
	set("profile", l.Profile)
	set("ca", l.CAFile)
	if l.Scheme == S3 {
		set("endpoint", l.Endpoint)
	}
	if l.Scheme == S3 && l.PathStyle != (l.Endpoint != "") {
		set("path_style", yn(l.PathStyle))
	}
	if l.Scheme == MinIO && !l.TLS {
		set("tls", "no")
	}
	if l.ContentMD5 {
		set("content_md5", "yes")
	}
	if len(q) > 0 {
		b.WriteString("?" + q.Encode())
	}
	return b.String()
}

func yn(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
