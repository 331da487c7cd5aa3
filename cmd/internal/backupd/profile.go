package backupd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/control"
)

const (
	// blockRate samples one blocking event for each of so many nanoseconds blocked; mutexRate one
	// of so many contended mutexes.
	blockRate = 10_000
	mutexRate = 10
)

// profiles profiles this process for ctl_backups debug profile. The runtime can take only one
// profile of a kind at a time, so one is taken at a time.
type profiles struct {
	busy sync.Mutex
}

// send takes a profile and sends it in parts.
func (p *profiles) send(ctx context.Context, kind string, length time.Duration, part func(any) error) error {
	if !slices.Contains(control.ProfileKinds(), kind) {
		return fmt.Errorf("%q is not a kind of profile: %s", kind, strings.Join(control.ProfileKinds(), ", "))
	}
	if length < 0 || length > control.LongestProfile {
		return fmt.Errorf("a profile takes at most %v", control.LongestProfile)
	}
	if !p.busy.TryLock() {
		return errors.New("another profile is being taken: try again later")
	}
	defer p.busy.Unlock()
	w := &partWriter{part: part}
	if err := take(ctx, kind, length, w); err != nil {
		return err
	}
	return w.flush()
}

func take(ctx context.Context, kind string, length time.Duration, w io.Writer) error {
	switch kind {
	case "cpu":
		if err := pprof.StartCPUProfile(w); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
		return pause(ctx, length)
	case "trace":
		if err := trace.Start(w); err != nil {
			return err
		}
		defer trace.Stop()
		return pause(ctx, length)
	case "block":
		runtime.SetBlockProfileRate(blockRate)
		defer runtime.SetBlockProfileRate(0)
		if err := pause(ctx, length); err != nil {
			return err
		}
	case "mutex":
		defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(mutexRate))
		if err := pause(ctx, length); err != nil {
			return err
		}
	case "heap", "allocs":
		runtime.GC() // the profile is of the last collection
	case "goroutine":
		return pprof.Lookup(kind).WriteTo(w, 2) // as text, which is readable by itself
	}
	return pprof.Lookup(kind).WriteTo(w, 0)
}

func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-time.After(length):
		return nil
	case <-ctx.Done():
		return errors.New("the daemon ends")
	}
}

// partWriter sends the written bytes in parts of about 64 KiB. The first error stays.
type partWriter struct {
	part func(any) error
	buf  bytes.Buffer
	err  error
}

const partSize = 64 << 10

func (w *partWriter) Write(p []byte) (int, error) {
	w.buf.Write(p)
	if w.buf.Len() >= partSize {
		w.send()
	}
	return len(p), w.err
}

func (w *partWriter) send() {
	if w.err == nil && w.buf.Len() > 0 {
		w.err = w.part(w.buf.Bytes())
	}
	w.buf.Reset()
}

func (w *partWriter) flush() error {
	w.send()
	return w.err
}
