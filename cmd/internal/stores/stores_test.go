package stores_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// TestCredentialsFile: imapd.conf alone names the file with the credentials, whatever the
// environment of the program contains.
func TestCredentialsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("MINIO_ROOT_USER", "of-the-shell")
	t.Setenv("MINIO_ROOT_PASSWORD", "secret")
	for _, at := range []string{"minio://127.0.0.1:1/bucket?tls=no", "s3://bucket?endpoint=http://127.0.0.1:1"} {
		sep := "?"
		if strings.Contains(at, "?") {
			sep = "&"
		}
		open := func(text string) error {
			t.Helper()
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			conf, err := imapconf.Parse("imapd.conf", "configdirectory: /x\nbackuppartition-default: "+at+sep+"profile=backup\nbackup_credentials_file: "+file+"\n", "backupd")
			if err != nil {
				t.Fatal(err)
			}
			_, closer, err := stores.Open(t.Context(), conf, stores.Options{})
			if err == nil {
				err = closer.Close()
			}
			return err
		}
		if err := open("[backup]\naws_access_key_id = a\naws_secret_access_key = b\n"); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		err := open("[other]\n")
		for _, want := range []string{"imapd.conf", "backuppartition-default", file, "no profile backup", "it has other"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", at, err, want)
			}
		}
	}
}
