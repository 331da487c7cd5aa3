package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/visible"
	"github.com/cyrusbackup/backupd/replication/client"
)

// Round is the result of one round with all users; its JSON is the program's output.
type Round struct {
	Mailboxes int      `json:"mailboxes"`
	Unchanged int      `json:"unchanged"` // mailboxes without anything to send
	Messages  int      `json:"messages"`  // uploaded
	Bytes     int64    `json:"bytes"`     // of uploaded messages
	Records   int      `json:"records"`
	Reserved  int      `json:"reserved"` // GUIDs asked about
	Subs      int      `json:"subscriptions"`
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"messages_per_second"`
	MBPerSec  float64  `json:"mb_per_second"` // 10^6 bytes
	Failed    []string `json:"failed,omitempty"`
	// Commands has the times of each command: in total, and after its last sent byte.
	Commands map[string]*Latency `json:"commands"`

	mu sync.Mutex
}

// Latency is the distribution of one command's times.
type Latency struct {
	Count int       `json:"count"`
	Total Quantiles `json:"total_ms"`
	Wait  Quantiles `json:"wait_ms"`

	total, wait []time.Duration
}

// Quantiles are in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func newRound() *Round { return &Round{Commands: make(map[string]*Latency)} }

func (r *Round) observe(command string, total, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.Commands[command]
	if l == nil {
		l = new(Latency)
		r.Commands[command] = l
	}
	l.total, l.wait = append(l.total, total), append(l.wait, wait)
}

func (r *Round) add(res client.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Mailboxes++
	if res.Unchanged {
		r.Unchanged++
	}
	r.Messages += res.Files
	r.Bytes += res.Bytes
	r.Records += res.Records
	r.Reserved += res.Reserved
}

func (r *Round) addSub() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Subs++
}

func (r *Round) fail(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Failed = append(r.Failed, what+": "+err.Error())
}

func (r *Round) finish(took time.Duration) {
	r.Seconds = took.Seconds()
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Messages) / r.Seconds
		r.MBPerSec = float64(r.Bytes) / 1e6 / r.Seconds
	}
	for _, l := range r.Commands {
		l.Count, l.Total, l.Wait = len(l.total), quantiles(l.total), quantiles(l.wait)
	}
	slices.Sort(r.Failed)
}

// nothingToDo reports whether the server had everything.
func (r *Round) nothingToDo() bool {
	return len(r.Failed) == 0 && r.Unchanged == r.Mailboxes && r.Subs == 0
}

func quantiles(d []time.Duration) Quantiles {
	if len(d) == 0 {
		return Quantiles{}
	}
	slices.Sort(d)
	at := func(q float64) float64 {
		return float64(d[min(int(q*float64(len(d))), len(d)-1)].Microseconds()) / 1000
	}
	return Quantiles{at(0.5), at(0.9), at(0.99), at(1)}
}

// Summary is the program's output.
type Summary struct {
	Server         string   `json:"server"`
	Users          int      `json:"users"`
	Connections    int      `json:"connections"`
	PrepareSeconds float64  `json:"prepare_seconds"` // to read or generate the mail, not part of any round
	Rounds         []*Round `json:"rounds"`
}

func (s *Summary) failed() bool {
	return slices.ContainsFunc(s.Rounds, func(r *Round) bool { return len(r.Failed) > 0 })
}

func (s *Summary) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(s)
}

func (s *Summary) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s: %s over %s; mail prepared in %.1f s\n", s.Server, many(s.Users, "user"), many(s.Connections, "connection"), s.PrepareSeconds)
	for i, r := range s.Rounds {
		err = cmp.Or(err, r.writeText(w, i+1))
	}
	return err
}

// many returns a number with the right form of a regular noun.
func many(n int, noun string) string { return english.Plural(n, noun, "") }

func (r *Round) writeText(w io.Writer, n int) error {
	boxes := english.Plural(r.Mailboxes, "mailbox", "mailboxes")
	what := fmt.Sprintf("%s, %d bytes, %s, %d of %s unchanged", many(r.Messages, "message"), r.Bytes, many(r.Records, "record"), r.Unchanged, boxes)
	if r.nothingToDo() {
		what = "nothing to do: the server has all " + boxes
		if r.Mailboxes == 1 {
			what = "nothing to do: the server has the mailbox"
		}
	}
	_, err := fmt.Fprintf(w, "round %d: %s; %.2f s, %.0f messages/s, %.1f MB/s\n", n, what, r.Seconds, r.PerSecond, r.MBPerSec)
	for _, name := range slices.Sorted(maps.Keys(r.Commands)) {
		l := r.Commands[name]
		_, e := fmt.Fprintf(w, "  %-16s %6d   total p50 %.1f p90 %.1f p99 %.1f max %.1f ms   wait p50 %.1f p90 %.1f p99 %.1f max %.1f ms\n", name, l.Count,
			l.Total.P50, l.Total.P90, l.Total.P99, l.Total.Max, l.Wait.P50, l.Wait.P90, l.Wait.P99, l.Wait.Max)
		err = cmp.Or(err, e)
	}
	for _, f := range r.Failed {
		_, e := fmt.Fprintf(w, "  failed: %s\n", visible.Text(f))
		err = cmp.Or(err, e)
	}
	return err
}
