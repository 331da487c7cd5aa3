package attack

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"
)

// patience is how long a test waits for something that takes far less.
const patience = time.Minute

// loggedIn returns what a client does that logs in and then acts. counted counts the logins.
func loggedIn(counted *atomic.Int64, act func(c io.ReadWriter, answers *bufio.Reader, end <-chan struct{})) func(net.Conn, <-chan struct{}) {
	return func(c net.Conn, end <-chan struct{}) {
		answers := bufio.NewReader(c)
		if !ask(c, answers, "AUTHENTICATE PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00repl\x00secret"))+"\r\n") {
			return
		}
		counted.Add(1)
		act(c, answers, end)
	}
}

// ask sends a command, and reports whether the server answers OK.
func ask(w io.Writer, answers *bufio.Reader, command string) bool {
	_, err := io.WriteString(w, command)
	return err == nil && strings.HasPrefix(answer(answers), "OK")
}

// answer returns the line that ends the answer to a command; "" if the connection has ended.
func answer(answers *bufio.Reader) string {
	for {
		line, err := answers.ReadString('\n')
		if err != nil {
			return ""
		}
		if !strings.HasPrefix(line, "* ") {
			return line
		}
	}
}

// waitUntil ends when reached does, or fails the test.
func waitUntil(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !reached(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", patience, what)
		}
	}
}

// eater is a command that would make the server keep any amount of memory: what it begins with, and a literal
// that follows again and again, with another number each time.
type eater struct {
	begin, before string
	literal       int
	after, end    string
}

var hungry = []eater{
	{"GET MAILBOXES %(", "", 1 << 20, " () ", ")\r\n"},
	{"APPLY RESERVE %(PARTITION x MBOXNAME (", "", 4096, " ", "))\r\n"},
	{"APPLY RESERVE %(", "", 1 << 20, " NIL ", ")\r\n"},
	{"GET MAILBOXES (", "%{", 1 << 20, " 0000000000000000000000000000000000000001 0}\r\n ", ")\r\n"},
	{"APPLY MAILBOX %(", "", 1 << 20, " () ", ")\r\n"},
}

// send sends the command, with an argument of so many bytes.
func (e *eater) send(out io.Writer, size int) error {
	w := bufio.NewWriterSize(out, 256<<10)
	_, err := w.WriteString(e.begin)
	pad := bytes.Repeat([]byte("k"), e.literal-8)
	for i := 0; i*e.literal < size && err == nil; i++ {
		if _, err = fmt.Fprintf(w, "%s{%d+}\r\n%08d", e.before, e.literal, i); err == nil {
			_, err = w.Write(pad)
		}
		if err == nil {
			_, err = w.WriteString(e.after)
		}
	}
	if err == nil {
		_, err = w.WriteString(e.end)
	}
	if err == nil {
		err = w.Flush()
	}
	return err
}

// A client with a login sends arguments that are larger than all memory for commands, with make attack also
// compressed. Each is refused, and the process stays within its memory.
func TestHungryLogin(t *testing.T) {
	v := newVictim(t, 3000, "backup_memory_limit: 192M", "backup_offer_compress: yes")
	for i, e := range hungry {
		for _, compress := range []bool{false, true} {
			if (i > 0 || compress) && !full() {
				continue // TestMemoryOfCommands has the others
			}
			t.Run(fmt.Sprintf("%s compress %v", e.begin, compress), func(t *testing.T) {
				var c hungryCrowd
				c.attack(t, v.port, 1, e, 320<<20, compress)
				waitUntil(t, "the command was not refused", func() bool { return c.refused.Load() > 0 })
			})
		}
	}
	if m := v.memory(); m > memoryMost {
		t.Errorf("backupd took %d MiB", m>>20)
	} else {
		t.Logf("peak %d MiB", m>>20)
	}
	v.backUp("afterwards", 3)
}

// The same by many clients at once, beside a backup.
func TestHungryLogins(t *testing.T) {
	if !full() {
		t.Skip("takes a minute: make attack")
	}
	const each, messages = 20, 20000
	v := newVictim(t, 3000, "backup_memory_limit: 192M", "backup_offer_compress: yes")
	quiet := v.backUp("quiet", messages)
	var c hungryCrowd
	for _, e := range hungry {
		c.attack(t, v.port, each, e, 100<<20, false)
		c.attack(t, v.port, each, e, 100<<20, true)
	}
	waitUntil(t, "not all clients have logged in", func() bool { return c.logins.Load() >= int64(2*each*len(hungry)) })
	loud := v.backUp("loud", messages)
	waitUntil(t, "few commands were refused", func() bool { return c.refused.Load() >= each })
	if m := v.memory(); m > memoryMost {
		t.Errorf("backupd took %d MiB", m>>20)
	}
	t.Logf("%d logins, %d commands refused; a backup of %d messages: %.2f s quiet, %.2f s beside them (%.2f times), peak %d MiB",
		c.logins.Load(), c.refused.Load(), messages, quiet.Seconds(), loud.Seconds(), loud.Seconds()/quiet.Seconds(), v.memory()>>20)
}

// hungryCrowd counts what eaters have reached.
type hungryCrowd struct{ logins, refused atomic.Int64 }

// attack starts n clients that send e again and again, until the end of the test.
func (h *hungryCrowd) attack(t *testing.T, port, n int, e eater, size int, compress bool) {
	attack(t, port, n, 1, loggedIn(&h.logins, func(c io.ReadWriter, answers *bufio.Reader, _ <-chan struct{}) {
		out := io.Writer(c)
		if compress {
			if !ask(c, answers, "COMPRESS DEFLATE\r\n") {
				return
			}
			z, err := flate.NewWriter(c, flate.BestSpeed)
			if err != nil {
				t.Error(err)
				return
			}
			out, answers = flushed{z}, bufio.NewReader(flate.NewReader(answers))
		}
		for e.send(out, size) == nil {
			switch said := answer(answers); {
			case said == "":
				return
			case !strings.HasPrefix(said, "NO "):
				t.Errorf("%s… of %d MiB was answered with %q", e.begin, size>>20, said)
				return
			}
			h.refused.Add(1)
		}
	}))
}

// flushed sends each write at once.
type flushed struct{ *flate.Writer }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}

// Clients with a login announce messages and send nothing. The messages of another client are taken at once.
func TestSilentLogins(t *testing.T) {
	const clients, most = 120, 20 * time.Second
	sizes := []int{900 << 10}
	if full() {
		sizes = []int{20 << 10, 900 << 10, 3 << 20}
	}
	for _, size := range sizes {
		t.Run(fmt.Sprintf("%d KiB", size>>10), func(t *testing.T) {
			v := newVictim(t, 3000, "backup_memory_limit: 192M")
			var logins, announced atomic.Int64
			c := attack(t, v.port, clients, 1, loggedIn(&logins, func(c io.ReadWriter, answers *bufio.Reader, _ <-chan struct{}) {
				if _, err := fmt.Fprintf(c, "APPLY MESSAGE (%%{default %040x %d}\r\n", announced.Load()+1, size); err != nil {
					return
				}
				announced.Add(1)
				answer(answers)
			}))
			waitUntil(t, "not all clients have announced a message", func() bool { return announced.Load() >= clients })
			for i := range 3 {
				if took := v.backUpOf(fmt.Sprintf("loud%d", i), "gen:3:900k", 3); took > most {
					t.Errorf("three messages took %v", took)
				} else {
					t.Logf("three messages of 900 KiB took %.2f s", took.Seconds())
				}
			}
			if n := c.closed.Load(); n > 0 {
				t.Errorf("%d silent clients were disconnected during the test, so it proves nothing", n)
			}
			if m := v.memory(); m > memoryMost {
				t.Errorf("backupd took %d MiB", m>>20)
			}
		})
	}
}
