package ctlbackups

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/control"
)

// defaultProfile is how long a profile takes without --for.
const defaultProfile = 30 * time.Second

// answerTime limits the wait for the daemon, in addition to the time that a profile takes.
const answerTime = time.Minute

// debug writes a profile of the running backupd to standard output.
func debug(c *command) error {
	kind := c.args[1]
	if cli.Terminal(c.direct) != nil && kind != "goroutine" {
		return cli.Usagef("a profile is for a program: send it to a file with > FILE, then: go tool pprof FILE")
	}
	r := control.Request{Op: "profile", Kind: kind}
	if control.TakesTime(kind) {
		r.For = c.length
	}
	reply, err := control.AskParts(c.ctx, c.bucket.Conf.String("backup_control_socket"), r, r.For+answerTime, func(part json.RawMessage) error {
		var b []byte
		if err := json.Unmarshal(part, &b); err != nil {
			return err
		}
		_, err := c.direct.Write(b)
		return err
	})
	if err == nil && reply.Error != "" {
		err = errors.New("backupd: " + reply.Error)
	}
	return err
}

// checkDebug checks the arguments of debug.
func (c *command) checkDebug() error {
	kinds := control.ProfileKinds()
	if !c.timed {
		c.length = defaultProfile
	}
	switch {
	case c.anyMode() || c.structured():
		return cli.Usagef("debug takes no mode and prints no JSON")
	case len(c.args) != 2 || c.args[0] != "profile" || !slices.Contains(kinds, c.args[1]):
		return cli.Usagef("debug takes: profile %s", strings.Join(kinds, "|"))
	case c.length <= 0 || c.length > control.LongestProfile:
		return cli.Usagef("--for %s: want a time above 0 and of at most 10m", c.length)
	case c.timed && !control.TakesTime(c.args[1]):
		return cli.Usagef("--for cannot be used with profile %s, which is taken at once", c.args[1])
	}
	return nil
}
