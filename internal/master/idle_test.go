package master

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// atEnding calls do between the decision to end and its effect.
type atEnding struct {
	slog.Handler
	do func()
}

func (a atEnding) Enabled(context.Context, slog.Level) bool { return true }

func (a atEnding) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "ending" {
		a.do()
	}
	return nil
}

// An idle process that ends does not accept a connection from another process, because it would
// have to close it before the first command.
func TestIdleEndRefusesReservations(t *testing.T) {
	var p *Process
	reserved := make(chan error, 1)
	p = New(Config{Idle: time.Millisecond, Logger: slog.New(atEnding{slog.DiscardHandler, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		place, err := p.Reserve(ctx)
		if err == nil {
			place.Free()
		}
		reserved <- err
	}})}, Limits{})
	code := make(chan int, 1)
	go func() { code <- p.Run(t.Context(), Callbacks{Serve: func(context.Context, *Conn) {}}) }()
	place, err := p.Reserve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	defer near.Close()
	place.Serve(&Conn{Conn: far})
	if err := <-reserved; !errors.Is(err, ErrEnding) {
		t.Errorf("a place was reserved: %v", err)
	}
	if got := <-code; got != ExitOK {
		t.Errorf("status %d", got)
	}
}

// A process that stays does not end when it is idle, and still ends when it is asked to.
func TestStay(t *testing.T) {
	for _, stays := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := New(Config{Idle: time.Minute}, Limits{})
			ctx, end := context.WithCancel(t.Context())
			defer end()
			code := make(chan int, 1)
			go func() { code <- p.Run(ctx, Callbacks{Serve: func(context.Context, *Conn) {}}) }()
			if stays {
				p.Stay()
			}
			place, err := p.Reserve(ctx)
			if err != nil {
				t.Fatal(err)
			}
			near, far := net.Pipe()
			defer near.Close()
			place.Serve(&Conn{Conn: far})
			time.Sleep(time.Hour)
			end()
			want := ExitOK
			if stays {
				want = ExitTempFail
			}
			if got := <-code; got != want {
				t.Errorf("stays %v: status %d, want %d", stays, got, want)
			}
		})
	}
}
