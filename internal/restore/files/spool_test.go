package files

import (
	"bytes"
	"testing"
)

// A spool returns all it was given, and keeps little of it in memory.
func TestSpool(t *testing.T) {
	t.Parallel()
	var s spool
	for _, size := range []int{0, 10, 3*inSpool + 5} {
		if err := s.reset(); err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("0123456789"), size/10)
		for part := range bytes.Lines(bytes.ReplaceAll(want, []byte("9"), []byte("\n"))) {
			if _, err := s.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		var got bytes.Buffer
		if err := s.copyTo(&got); err != nil || int64(got.Len()) != s.size || got.Len() != len(want) {
			t.Fatalf("%d bytes of %d, size %d, %v", got.Len(), len(want), s.size, err)
		}
		if s.last.Cap() > 3*inSpool {
			t.Errorf("%d bytes in memory", s.last.Cap())
		}
	}
	if err := s.reset(); err != nil {
		t.Fatal(err)
	}
}
