package master

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
)

// Checking a new configuration can take as long as a store needs to answer. Signals are handled in
// the meantime.
func TestSignalsDuringReload(t *testing.T) {
	signals := &Signals{c: make(chan os.Signal, 8)}
	p := New(Config{Signals: signals}, Limits{})
	var calls atomic.Int32
	begun, free := make(chan struct{}), make(chan struct{})
	ended := make(chan int, 1)
	go func() {
		ended <- p.Run(t.Context(), Callbacks{Reload: func(ctx context.Context) error {
			switch calls.Add(1) {
			case 1:
				close(begun)
				<-free
				return nil
			case 2:
				signals.c <- syscall.SIGTERM
			}
			<-ctx.Done()
			return ctx.Err()
		}})
	}()
	signals.c <- syscall.SIGHUP
	<-begun
	signals.c <- syscall.SIGHUP // the configuration may have changed since it was read
	for len(signals.c) > 0 {
		runtime.Gosched()
	}
	close(free)
	if code := <-ended; code != ExitTempFail || calls.Load() != 2 {
		t.Errorf("status %d after %d reloads, want %d after 2", code, calls.Load(), ExitTempFail)
	}
}
