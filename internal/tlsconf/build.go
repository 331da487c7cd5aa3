package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// builder builds a tls.Config and records the files that it reads.
type builder struct {
	conf     *imapconf.File
	stamps   map[string]stamp
	warnings []string
}

// enabled: imap/tls.c, tls_enabled.
func enabled(conf *imapconf.File) bool {
	cert, key := conf.String("tls_server_cert"), conf.String("tls_server_key")
	return cert != "" && !strings.EqualFold(cert, "disabled") && !strings.EqualFold(key, "disabled")
}

// build reports all faults at once.
func (b *builder) build() (*tls.Config, error) {
	config := &tls.Config{SessionTicketsDisabled: b.conf.Duration("tls_session_timeout") == 0}
	err := errors.Join(b.certificates(config), b.versions(config), b.clientCertificates(config))
	if err != nil {
		return nil, err
	}
	suites, warnings := parseCiphers(b.conf.String("tls_ciphers"))
	config.CipherSuites = suites
	for _, w := range warnings {
		b.warn("tls_ciphers", w)
	}
	return config, nil
}

func (b *builder) warn(option, text string) {
	b.warnings = append(b.warnings, b.conf.Errorf(option, "%s", text).Error())
}

// read reads the file of an option.
func (b *builder) read(option, path string) ([]byte, error) {
	b.stamps[path] = stampOf(path)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, b.conf.Errorf(option, "%w", err)
	}
	return data, nil
}

// certificates loads one pair, or two separated by a comma.
func (b *builder) certificates(config *tls.Config) error {
	certs := splitFiles(b.conf.String("tls_server_cert"))
	keys, keyOption := splitFiles(b.conf.String("tls_server_key")), "tls_server_key"
	if len(keys) == 0 {
		keys, keyOption = certs, "tls_server_cert"
	}
	if len(certs) != len(keys) {
		return b.conf.Errorf(keyOption, "%d files, but tls_server_cert has %d", len(keys), len(certs))
	}
	for i := range certs {
		certPEM, err := b.read("tls_server_cert", certs[i])
		if err != nil {
			return err
		}
		keyPEM, err := b.read(keyOption, keys[i])
		if err != nil {
			return err
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return b.conf.Errorf(keyOption, "certificate %s with key %s: %v", certs[i], keys[i], err)
		}
		config.Certificates = append(config.Certificates, pair)
	}
	return nil
}

func splitFiles(value string) []string {
	var files []string
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			files = append(files, part)
		}
	}
	return files
}

// versions sets the range of versions. Go does not support a range with gaps.
func (b *builder) versions(config *tls.Config) error {
	words := []string{"tls1_0", "tls1_1", "tls1_2", "tls1_3"}
	wanted := b.conf.Words("tls_versions")
	for _, w := range wanted {
		if !slices.Contains(words, w) {
			b.warn("tls_versions", fmt.Sprintf("unknown version %q", w))
		}
	}
	for i := len(words) - 1; i >= 0; i-- {
		version := tls.VersionTLS10 + uint16(i)
		switch {
		case !slices.Contains(wanted, words[i]):
		case config.MaxVersion == 0:
			config.MinVersion, config.MaxVersion = version, version
		case config.MinVersion == version+1:
			config.MinVersion = version
		default:
			b.warn("tls_versions", words[i]+" is ignored: the versions must be consecutive")
		}
	}
	if config.MaxVersion == 0 {
		return b.conf.Errorf("tls_versions", "names no version; allowed: %s", strings.Join(words, " "))
	}
	return nil
}

// clientCertificates asks for client certificates only if there are authorities (imap/tls.c,
// tls_init_serverengine). Unlike Cyrus we do not add the system's authorities.
func (b *builder) clientCertificates(config *tls.Config) error {
	mode := b.conf.Word("tls_client_certs")
	if mode == "off" {
		return nil
	}
	pool, err := b.authorities()
	if err != nil {
		return err
	}
	switch {
	case pool == nil && mode == "require":
		return b.conf.Errorf("tls_client_certs", "require needs tls_client_ca_file or tls_client_ca_dir")
	case pool == nil:
		return nil
	case mode == "require":
		config.ClientAuth = tls.RequireAndVerifyClientCert
	default:
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	config.ClientCAs = pool
	return b.revocation(config)
}

func (b *builder) authorities() (*x509.CertPool, error) {
	file, dir := b.conf.String("tls_client_ca_file"), b.conf.String("tls_client_ca_dir")
	if file == "" && dir == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if file != "" {
		data, err := b.read("tls_client_ca_file", file)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(data) {
			return nil, b.conf.Errorf("tls_client_ca_file", "%s: no certificate in the file", file)
		}
	}
	if dir == "" {
		return pool, nil
	}
	return pool, b.directory(pool, dir)
}

// directory adds the certificates that OpenSSL would find in a directory: files named by the hash of
// the subject. Other files are not trusted.
func (b *builder) directory(pool *x509.CertPool, dir string) error {
	const option = "tls_client_ca_dir"
	b.stamps[dir] = stampOf(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return b.conf.Errorf(option, "%w", err)
	}
	hashed := regexp.MustCompile(`^[0-9a-f]{8}\.[0-9]+$`)
	found := false
	for _, e := range entries {
		if !hashed.MatchString(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := b.read(option, path)
		if err != nil {
			return err
		}
		if !pool.AppendCertsFromPEM(data) {
			return b.conf.Errorf(option, "%s: no certificate in the file", path)
		}
		found = true
	}
	if !found {
		return b.conf.Errorf(option, "%s: no certificate named by its hash (run openssl rehash)", dir)
	}
	return nil
}
