package replication_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

func TestTelemetry(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "repl"), 0o755); err != nil {
		t.Fatal(err)
	}
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		o.Telemetry = replication.Telemetry{Dir: dir, Umask: 0o077}
	})
	b := dial(t, srv, replication.ConnOptions{Service: "backupd"})
	credentials := b64("\x00repl\x00secret")
	b.want("AUTHENTICATE PLAIN "+credentials, "OK Success (no protection)")
	b.want("AUTHENTICATE PLAIN "+credentials, "BAD Already authenticated")
	b.want("APPLY MESSAGE (%{p "+guidHello+" 5}\r\nhello)", "OK Success")
	b.want("EXIT", "OK Finished")
	<-b.ended
	path := filepath.Join(dir, "repl", fmt.Sprintf("backupd-%d", os.Getpid()))
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1700000000, 0).Format(time.ANSIC)
	want := "---------- repl " + at + "\n\n" +
		"<1700000000<AUTHENTICATE PLAIN ********\r\n>1700000000>BAD Already authenticated\r\n" +
		"<1700000000<APPLY MESSAGE (%{p " + guidHello + " 5}\r\nhello)\r\n>1700000000>OK Success\r\n" +
		"<1700000000<EXIT\r\n>1700000000>OK Finished\r\n"
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
}

// Under COMPRESS the log contains the uncompressed dialogue.
func TestTelemetryCompressed(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "cyrus"), 0o755); err != nil {
		t.Fatal(err)
	}
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { o.Telemetry = replication.Telemetry{Dir: dir} })
	b := dial(t, srv, replication.ConnOptions{Unix: true})
	b.want("COMPRESS DEFLATE", "OK DEFLATE active")
	b.Client = deflate(t, b.Conn)
	b.want("NOOP", "OK Noop completed")
	b.want("EXIT", "OK Finished")
	<-b.ended
	got, err := os.ReadFile(filepath.Join(dir, "cyrus", fmt.Sprintf("backupd-%d", os.Getpid())))
	if err != nil {
		t.Fatal(err)
	}
	want := "<1700000000<COMPRESS DEFLATE\r\n>1700000000>OK DEFLATE active\r\n" +
		"<1700000000<NOOP\r\n>1700000000>OK Noop completed\r\n" +
		"<1700000000<EXIT\r\n>1700000000>OK Finished\r\n"
	if !strings.HasSuffix(string(got), want) {
		t.Errorf("got:\n%q\nwant at its end:\n%q", got, want)
	}
}

// Without the directory no file is written, and a user name cannot point outside the
// directory.
func TestTelemetryOff(t *testing.T) {
	dir := t.TempDir()
	srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
		o.Telemetry = replication.Telemetry{Dir: dir, BySessionID: true}
	})
	for _, user := range []string{"cyrus", "..", "../x"} {
		b := dial(t, srv, replication.ConnOptions{Unix: true, UnixUser: user})
		b.want("EXIT", "OK Finished")
		<-b.ended
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("%v %v", files, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "cyrus"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := dial(t, srv, replication.ConnOptions{Unix: true})
	b.want("EXIT", "OK Finished")
	<-b.ended
	files, err := os.ReadDir(filepath.Join(dir, "cyrus"))
	if err != nil || len(files) != 1 || !strings.HasPrefix(files[0].Name(), "backupd-backup.example.com-1700000000-") {
		t.Errorf("%v %v", files, err)
	}
}
