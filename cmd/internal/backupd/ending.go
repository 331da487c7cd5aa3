package backupd

import (
	"log/slog"
	"time"

	"github.com/cyrusbackup/backupd/internal/crash"
)

// endMost limits the end of the process beside the time of its sessions: puts that are cancelled, the last contacts
// (5 s), the index (20 s). Everything that clients have an answer for is durable before.
const endMost = time.Minute

// lastResort ends a process that does not end by itself, as if a call of the operating system never
// returned: master waits for its services without a limit, and no other process can open the index.
type lastResort struct {
	most   time.Duration
	report *crash.Report // nil: what the process waited for is not reported
	log    *slog.Logger
	exit   func(code int)
}

// begin starts the limit, before which sessions may take a time. stop ends it.
func (l lastResort) begin(code int, sessions time.Duration) (stop func()) {
	most := sessions + l.most
	timer := time.AfterFunc(most, func() {
		// Neither may hold up the exit: the log or the disk may be what the process waits for.
		time.AfterFunc(l.most, func() { l.exit(code) })
		l.log.Error("the process does not end: exiting without closing the index, which loses nothing; the next start reports what this one waited for",
			slog.Duration("after", most), slog.Int("status", code))
		if l.report != nil {
			_ = l.report.Stacks("the process did not end within " + most.String())
		}
		l.exit(code)
	})
	return func() { timer.Stop() }
}
