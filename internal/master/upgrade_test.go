package master

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// programFile returns a watched program file.
func programFile(t *testing.T) *Binary {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("1"), 0o700); err != nil {
		t.Fatal(err)
	}
	b, err := WatchBinary(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *Binary) grow(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(b.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
}

// A file that is still being written is not started, and a missing one is not waited for.
func TestReplacedWaitsForTheWholeFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := programFile(t)
		done := make(chan struct{})
		go func() {
			if b.replaced(t.Context()) {
				close(done)
			}
		}()
		running := func(when string) {
			t.Helper()
			synctest.Wait()
			select {
			case <-done:
				t.Fatalf("noticed %s", when)
			default:
			}
		}
		time.Sleep(time.Hour)
		running("without a change")
		if err := os.Rename(b.path, b.path+".old"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		running("while there is no file")
		if err := os.WriteFile(b.path, []byte("new"), 0o700); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			b.grow(t)
			time.Sleep(b.every)
			running("while it was being written")
		}
		time.Sleep(b.every)
		synctest.Wait()
		<-done
	})
}

// One client stays connected for ever, and no other one comes: the old process must end within a minute.
func TestUpgradeWithoutAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := programFile(t)
		p := New(Config{Binary: b}, Limits{DrainTimeout: time.Hour})
		code := make(chan int, 1)
		served := make(chan struct{})
		go func() {
			code <- p.Run(t.Context(), Callbacks{Serve: func(context.Context, *Conn) {
				close(served)
				<-p.Draining()
			}})
		}()
		slot, err := p.Reserve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		defer near.Close()
		slot.Serve(&Conn{Conn: far})
		<-served
		time.Sleep(time.Hour)
		b.grow(t)
		began := time.Now()
		if got := <-code; got != ExitOK {
			t.Errorf("status %d", got)
		}
		if took := time.Since(began); took > 45*time.Second || took < upgradePatience {
			t.Errorf("it took %v", took)
		}
	})
}
