package replication_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
)

// A client that could use TLS and does not is reported once.
func TestLoginWithoutTLSIsReported(t *testing.T) {
	const plain, text = "AUTHENTICATE PLAIN ", "does not use TLS"
	login := func(b *bench, protection string) {
		b.want(plain+b64("\x00repl\x00secret"), "OK Success ("+protection+" protection)")
		b.want("EXIT", "OK Finished")
		_, _ = b.Line() // the end; over TLS, the server waits for a reader
		_ = b.Conn.Close()
		<-b.ended // the log is complete
	}
	for _, tc := range []struct {
		name string
		tls  bool
		opt  replication.ConnOptions
		want int
	}{
		{"without a certificate", false, replication.ConnOptions{}, 0},
		{"with a certificate", true, replication.ConnOptions{}, 1},
		{"behind a tunnel", true, replication.ConnOptions{SSF: 128}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			buf, withLog := logLines()
			srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) {
				withLog(o)
				if tc.tls {
					withTLS(t)(o)
				}
			})
			login(dial(t, srv, tc.opt), "no")
			login(dial(t, srv, tc.opt), "no") // the same client again
			if got := strings.Count(buf.String(), text); got != tc.want {
				t.Errorf("%d lines, want %d:\n%s", got, tc.want, buf)
			}
			other := tc.opt
			other.Addr = "mail2.example.com [192.0.2.2]"
			login(dial(t, srv, other), "no")
			if got := strings.Count(buf.String(), text); got != 2*tc.want {
				t.Errorf("with another client: %d lines, want %d:\n%s", got, 2*tc.want, buf)
			}
		})
	}
	t.Run("with TLS", func(t *testing.T) {
		buf, withLog := logLines()
		srv := newServer(t, replicationtest.NewStore(), func(o *replication.Options) { withLog(o); withTLS(t)(o) })
		b := dial(t, srv, replication.ConnOptions{})
		b.want("STARTTLS", "OK Begin TLS negotiation now")
		c, _, err := replicationtest.NewClient(startTLS(t, b.Conn))
		if err != nil {
			t.Fatal(err)
		}
		b.Client = c
		login(b, "tls")
		if strings.Contains(buf.String(), text) {
			t.Error(buf)
		}
	})
}
