package dirstore

import (
	"bytes"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// slowBody takes a while to be read, as a put does to a server that hangs.
type slowBody struct {
	*bytes.Reader
	read time.Time // when it was
}

func (b *slowBody) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(50 * time.Millisecond)
	b.read = time.Now()
	return b.Reader.ReadAt(p, off)
}

// TestTimeOfTheAnswer: a put that was held up says what time it is when it is done, or
// nobody would ask what became of the store meanwhile (design.md, promise 6).
func TestTimeOfTheAnswer(t *testing.T) {
	s := newStore(t)
	for _, opt := range []objstore.PutOptions{{}, {IfAbsent: true}} {
		body := &slowBody{Reader: bytes.NewReader([]byte("x"))}
		info, err := s.Put(t.Context(), "k", body, opt)
		at := info.StoreTime
		if err != nil {
			at = objstore.StoreTimeOf(err)
		}
		// A file's time is that of the kernel's last tick, up to 10 ms ago.
		if early := body.read.Sub(at); early > 20*time.Millisecond {
			t.Errorf("%+v: the store's time is %v before the end of the body (%v)", opt, early, err)
		}
	}
}
