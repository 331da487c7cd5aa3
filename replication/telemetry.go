package replication

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tap copies the dialogue, as seen between the layers below (TLS, deflate) and the
// commands, to a telemetry file once one is open (imap/telemetry.c).
type tap struct {
	file *os.File // nil = nothing is copied
	now  func() time.Time
	err  func(error) // called with the reason when copying ends
	mask mask
}

type tapReader struct {
	t *tap
	r io.Reader
}

func (r tapReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.t.copy('<', p[:n])
	}
	return n, err
}

type tapWriter struct {
	t *tap
	w io.Writer
}

func (w tapWriter) Write(p []byte) (int, error) {
	w.t.copy('>', p)
	return w.w.Write(p)
}

// copy writes a timestamp and the bytes (lib/prot.c, prot_fill and prot_flush_log).
func (t *tap) copy(direction byte, p []byte) {
	if t.file == nil {
		return
	}
	if direction == '<' {
		p = t.mask.hide(p)
	}
	mark := fmt.Appendf(nil, "%c%d%c", direction, t.now().Unix(), direction)
	// A single write, so that connections that share the file do not interleave.
	if _, err := t.file.Write(append(mark, p...)); err != nil {
		t.err(err)
		t.close()
	}
}

func (t *tap) close() {
	if t.file != nil {
		// Nothing is lost: everything has been written, or an error has been reported.
		_ = t.file.Close()
		t.file = nil
	}
}

// startTelemetry opens the user's telemetry file if its directory exists. All connections
// of a user share one file unless BySessionID is set, because they share a process.
func (c *conn) startTelemetry() {
	opt := c.srv.opt.Telemetry
	if opt.Dir == "" || !plainName(c.user) || !plainName(c.opt.Service) {
		return
	}
	id := fmt.Sprint(os.Getpid())
	if opt.BySessionID {
		id = c.id
	}
	path := filepath.Join(opt.Dir, c.user, c.opt.Service+"-"+id)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644&^opt.Umask)
	if err != nil {
		if !os.IsNotExist(err) {
			c.log().Error("open telemetry log", "err", err)
		}
		return
	}
	now := c.srv.opt.Clock.Now
	// ctime(3) includes a line end.
	if _, err := fmt.Fprintf(f, "---------- %s %s\n\n", c.user, now().Format(time.ANSIC)); err != nil {
		c.log().Error("write telemetry log", "err", err)
	}
	c.tap = tap{file: f, now: now, err: func(err error) { c.log().Error("write telemetry log", "err", err) }}
}

// plainName reports whether s is a file name without a path.
func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}
