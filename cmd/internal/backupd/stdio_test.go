package backupd

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/master"
)

// Streams that are not files are relayed like pipes.
func TestStdioRelaysStreams(t *testing.T) {
	var out bytes.Buffer
	s, err := openStdio(strings.NewReader("question"), &out, master.Options{Service: "backupd"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(s.conn)
	if err != nil || string(got) != "question" || s.conn.Kind != master.KindStdio || s.conn.Service != "backupd" {
		t.Errorf("%q, %v, %+v", got, err, s.conn.Options)
	}
	if _, err := io.WriteString(s.conn, "answer"); err != nil {
		t.Fatal(err)
	}
	if err := s.conn.Close(); err != nil {
		t.Fatal(err)
	}
	s.flush()
	if out.String() != "answer" {
		t.Errorf("%q", &out)
	}
}
