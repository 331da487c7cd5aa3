package cyrbackup

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// chunk is a commit in the list of chunks.
type chunk struct {
	ID     uint64  `json:"id"`
	Offset int64   `json:"offset"` // bytes of the log's objects before it
	Length int64   `json:"length"` // bytes of the commit's events
	Ratio  float64 `json:"ratio"`  // compressed size in percent
	Start  string  `json:"start time"`
	End    string  `json:"end time"`
	Kept   bool    `json:"kept,omitempty"` // a single moment from before the log

	stored int64 // bytes of the object
}

// chunks walks the log. A commit happens at one moment: its start and end are the same.
func (c *command) chunks(fn func(chunk) error) error {
	sizes := map[string]int64{}
	for info, err := range c.found.Partition.Store.List(c.ctx, history.LogPrefix(c.found.Path), "") {
		if err != nil {
			return err
		}
		sizes[info.Key] = info.Size
	}
	log := c.found.Log()
	first, err := firstCommit(c)
	if err != nil {
		return err
	}
	if err := c.kept(first, fn); err != nil {
		return err
	}
	var offset int64
	times := history.Times{Now: c.now}
	for r, err := range log.Readable(c.ctx, history.Tip{Number: first - 1}, c.mem.Tip().Number) {
		if g, ok := history.IsGap(err); ok {
			cli.Fprintf(c.err, "cyr_backup: %v\n", g)
			continue
		}
		if err != nil {
			return err
		}
		h := r.Header()
		t := timespec.Text(c.made(&times, h))
		if _, err := r.Hash(); err != nil {
			continue // Readable reports it next
		}
		one := chunk{ID: h.Number, Offset: offset, Length: r.Size(), Start: t, End: t}
		if size := sizes[r.Key()]; one.Length > 0 {
			one.Ratio = 100 * float64(size) / float64(one.Length)
			one.stored = size
			offset += size
		}
		if err := fn(one); err != nil {
			return err
		}
	}
	c.warn(times.Doubts())
	return nil
}

// kept calls fn for each moment from before the log that retention keeps, the oldest first.
func (c *command) kept(first uint64, fn func(chunk) error) error {
	numbers, err := c.found.Log().Checkpoints(c.ctx)
	if err != nil {
		return err
	}
	for _, n := range slices.Backward(numbers) {
		if n >= first {
			break
		}
		m, err := history.ReadCheckpoint(c.ctx, c.found.Partition.Store, c.found.Path, n)
		if history.IsUnreadable(err) {
			cli.Fprintf(c.err, "cyr_backup: %v\n", err)
			continue
		}
		if err != nil {
			return err
		}
		t := timespec.Text(m.Time())
		if err := errors.Join(fn(chunk{ID: n, Start: t, End: t, Kept: true}), m.Close()); err != nil {
			return err
		}
	}
	return nil
}

// firstCommit returns the number of the oldest commit in the log.
func firstCommit(c *command) (uint64, error) {
	first, err := c.found.Log().First(c.ctx)
	return max(first, 1), err
}

func listChunks(c *command) error {
	if err := c.noteHolds(); err != nil {
		return err
	}
	if c.tabular() {
		t := newChunkTable(c.out)
		return cmp.Or(c.chunks(t.add), t.w.Flush())
	}
	c.printf("     id offset\tlength\tratio%%\tstart time                 end time\n")
	return c.chunks(func(k chunk) error {
		if k.Kept {
			_, err := cli.Fprintf(c.out, "%7d -\t-\t     -\t%s  %s\n", k.ID, k.Start, k.End)
			return err
		}
		_, err := cli.Fprintf(c.out, "%7d %s\t%s\t%6.1f\t%s  %s\n", k.ID, fmt.Sprint(k.Offset), fmt.Sprint(k.Length), k.Ratio, k.Start, k.End)
		return err
	})
}

func jsonChunks(c *command) error {
	return array(c.out, func(add func(any) error) error {
		return c.chunks(func(k chunk) error { return add(k) })
	})
}

// showChunks describes the changes of commits.
func showChunks(c *command) error {
	for _, name := range c.names {
		n, err := number(name)
		if err != nil {
			return err
		}
		err = c.commit(n, func(r *history.CommitReader) error {
			h := r.Header()
			at, doubt, err := c.found.Log().Made(c.ctx, h, c.now)
			if err != nil {
				return err
			}
			c.warn(doubt)
			if at.IsZero() {
				at = h.Time
			}
			c.field("chunk:", fmt.Sprint(h.Number))
			c.field("time:", timespec.Text(at))
			c.field("by:", strings.Join([]string{h.Host, cyrus.ShortSessionID(h.Connection), h.Client}, " "))
			for e, err := range r.Events() {
				if err != nil {
					return err
				}
				c.field("", describe(e))
			}
			c.printf("\n")
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func describe(e history.Event) string {
	switch e := e.(type) {
	case *history.MailboxEvent:
		return fmt.Sprintf("mailbox %s (%s)", e.Name, e.UniqueID)
	case *history.RecordsEvent:
		if len(e.Records) == 0 { // backupd does not write such events
			return "no records of " + e.UniqueID
		}
		return fmt.Sprintf("%s of %s, uid %d to %d", english.Plural(len(e.Records), "record", ""), e.UniqueID, e.Records[0].UID, e.Records[len(e.Records)-1].UID)
	case *history.MessagesEvent:
		return english.Plural(len(e.Messages), "new message", "")
	}
	line, err := history.AppendEvent(nil, e)
	if err != nil {
		return e.Kind()
	}
	const most = 300
	if len(line) > most {
		return string(line[:most]) + "…"
	}
	return string(line[:len(line)-1])
}

// dumpChunk writes a commit's events as stored in the bucket.
func dumpChunk(c *command) error {
	n, err := number(c.names[0])
	if err != nil {
		return err
	}
	return c.commit(n, func(r *history.CommitReader) error {
		head, err := json.Marshal(r.Header())
		if err != nil {
			return err
		}
		fmt.Fprintf(c.bytes, "%s\n", head)
		for e, err := range r.Events() {
			if err != nil {
				return err
			}
			line, err := history.AppendEvent(nil, e)
			if err != nil {
				return err
			}
			if _, err := c.bytes.Write(line); err != nil {
				return err
			}
		}
		return nil
	})
}

// commit reads one commit of the log.
func (c *command) commit(n uint64, fn func(*history.CommitReader) error) error {
	if n > c.mem.Tip().Number {
		return fmt.Errorf("chunk %d: %w: the newest is %d", n, objstore.ErrNotExist, c.mem.Tip().Number)
	}
	for r, err := range c.found.Log().Commits(c.ctx, n, n) {
		if err != nil {
			return err
		}
		return fn(r)
	}
	return nil
}

func number(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, cli.Usagef("%q is not the number of a chunk", s)
	}
	return n, nil
}

func timeOf(sec int64) time.Time { return time.Unix(sec, 0) }
