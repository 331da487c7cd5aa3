package fuzztest

import "testing"

// recorder is a testing.TB that notes failures.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestWithin(t *testing.T) {
	var sink []byte
	for _, tt := range []struct {
		pieces, size int
		limit        int64
		fails        bool
	}{
		{1, 1 << 10, 64 << 10, false},
		{1, 1 << 20, 64 << 10, true},
		{4096, 1 << 10, 64 << 10, true}, // all but the last are garbage
	} {
		r := &recorder{TB: t}
		Within(r, tt.limit, func() {
			for range tt.pieces {
				sink = make([]byte, tt.size)
			}
		})
		if r.failed != tt.fails {
			t.Errorf("%d × %d bytes, at most %d: failed = %v", tt.pieces, tt.size, tt.limit, r.failed)
		}
	}
	_ = sink
}
