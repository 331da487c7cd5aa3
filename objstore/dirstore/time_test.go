package dirstore

import (
	"bytes"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// slowBody is slow to read, like a put to a hanging server.
type slowBody struct {
	*bytes.Reader
	read time.Time // time of the read
}

func (b *slowBody) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(50 * time.Millisecond)
	b.read = time.Now()
	return b.Reader.ReadAt(p, off)
}

// TestTimeOfTheAnswer: a delayed put returns the time of its end. Otherwise nobody would
// check what happened to the store meanwhile (design.md, promise 6).
func TestTimeOfTheAnswer(t *testing.T) {
	s := newStore(t)
	for _, opt := range []objstore.PutOptions{{}, {IfAbsent: true}} {
		body := &slowBody{Reader: bytes.NewReader([]byte("x"))}
		info, err := s.Put(t.Context(), "k", body, opt)
		at := info.StoreTime
		if err != nil {
			at = objstore.StoreTimeOf(err)
		}
		// A file's time is the kernel's last tick, up to 10 ms ago.
		if early := body.read.Sub(at); early > 20*time.Millisecond {
			t.Errorf("%+v: the store's time is %v before the end of the body (%v)", opt, early, err)
		}
	}
}
