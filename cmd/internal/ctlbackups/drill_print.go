package ctlbackups

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/drill"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The status of a backup whose drill the server has prevented, or disturbed, and that of an empty backup.
const (
	notCompared      = "not compared"
	partlyCompared   = "partly compared"
	nothingToRestore = "nothing to restore"
)

// word returns the status of a backup.
func (d *drilling) word(out drill.Result, err error) (word, reason string) {
	word, reason = statusOf(err)
	fault := new(drill.ServerError)
	switch {
	case out.Problems > 0:
	case errors.As(err, &fault) && out.Mailboxes > 0:
		word = partlyCompared
	case errors.As(err, &fault):
		word = notCompared
	case err == nil && out.Nothing:
		word, reason = nothingToRestore, "the backup has no mailbox, or only deleted ones"
	}
	return word, reason
}

// print prints the result for a backup.
func (d *drilling) print(f *repository.Found, out drill.Result, err error) error {
	word, reason := d.word(out, err)
	if d.structured() {
		return d.object(struct {
			Command   string    `json:"command"`
			UserID    string    `json:"userid,omitempty"`
			Path      string    `json:"fname"`
			Server    string    `json:"server,omitempty"`
			Status    string    `json:"status"`
			Reason    string    `json:"reason,omitempty"`
			AsOf      time.Time `json:"as_of,omitzero"`
			Mailboxes int       `json:"mailboxes"`
			Messages  int       `json:"messages"`
			Bytes     int64     `json:"bytes"`
			Seconds   float64   `json:"seconds"`
			Problems  int       `json:"problems"`
		}{"drill", userID(f), place(f), d.to, word, strings.TrimSuffix(reason, ": "+cli.ErrReported.Error()), out.AsOf,
			out.Mailboxes, out.Messages, out.Bytes, out.Took.Seconds(), out.Problems})
	}
	text := word
	if word == nothingToRestore {
		text += ": " + reason
	} else if !out.AsOf.IsZero() && word != notCompared {
		text += fmt.Sprintf(": %s in %s, %s, as of %s", objects(int64(out.Messages), "message"),
			english.Plural(out.Mailboxes, "mailbox", "mailboxes"), inTime(out.Bytes, out.Took), timespec.Text(out.AsOf))
	}
	if out.Problems > 0 {
		text += "; " + objects(int64(out.Problems), "problem")
	}
	_, perr := cli.Fprintf(d.out, "drill %s: %s\n", label(f), text)
	return perr
}

// summary prints the sum, if more than one backup was restored, or none.
func (d *drilling) summary() error {
	switch {
	case d.structured():
		return nil
	case d.done+d.faults == 0 && d.empty > 0 && (d.users > 0 || d.share > 0):
		_, err := cli.Fprintf(d.out, "nothing was restored: none of %s that were drawn has a mailbox, except deleted ones\n", objects(int64(d.empty), "backup"))
		return err
	case d.done+d.faults < 2:
		return nil
	}
	result := "all equal the backup"
	if d.failed > 0 || d.faults > 0 {
		result = fmt.Sprintf("%d failed", d.failed)
	}
	if d.faults > 0 {
		result += fmt.Sprintf(", %d not compared because of %s", d.faults, d.to)
	}
	_, err := cli.Fprintf(d.out, "%s, %s, %s: %s\n", objects(int64(d.done), "backup"), objects(int64(d.total.Messages), "message"),
		inTime(d.total.Bytes, d.total.Took), result)
	return err
}

// inTime formats how many bytes were restored in a time, and how fast.
func inTime(bytes int64, took time.Duration) string {
	rate := float64(bytes) / max(took, time.Millisecond).Seconds()
	return fmt.Sprintf("%s in %.1f s (%s/s)", binary(bytes), took.Seconds(), binary(int64(rate)))
}
