package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/pjbgf/sha1cd"
)

// BenchmarkFloor measures what the bytes of a message cost at least: SHA-1 (the client's GUID),
// SHA-256 (the name of its chunk) and zstd. BenchmarkIngest reports its own CPU time as a multiple
// of the three, which it measures in the same run. sha1cd detects collisions, and is not part of
// the floor.
func BenchmarkFloor(b *testing.B) {
	for _, size := range []struct {
		name string
		mail func() func(int) []byte
	}{
		{"5KB", func() func(int) []byte { return newText(5000) }},
		{"1MB", func() func(int) []byte { return newAttachment(1000_000) }},
	} {
		b.Run(size.name, func(b *testing.B) {
			compress := newCompressor(b)
			for _, work := range []struct {
				name string
				do   func([]byte)
			}{
				{"sha1", func(p []byte) { sha1.Sum(p) }},
				{"sha1cd", func(p []byte) { sha1cd.Sum(p) }},
				{"sha256", func(p []byte) { sha256.Sum256(p) }},
				{"zstd", compress},
			} {
				b.Run(work.name, func(b *testing.B) {
					mails := sampleOf(size.mail())
					b.SetBytes(int64(len(mails[0])))
					b.ReportAllocs()
					cpu := processorTime()
					for i := 0; b.Loop(); i++ {
						work.do(mails[i%len(mails)])
					}
					b.ReportMetric(float64((processorTime()-cpu).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
				})
			}
		})
	}
}

// floorOf returns the processor time of the floor for one of these messages.
func floorOf(b *testing.B, mail func(int) []byte) time.Duration {
	b.Helper()
	const least = 200 * time.Millisecond // hundreds of ticks of the clock
	mails, compress := sampleOf(mail), newCompressor(b)
	count, start := 0, processorTime()
	for processorTime()-start < least {
		for _, p := range mails {
			sha1.Sum(p)
			sha256.Sum256(p)
			compress(p)
		}
		count += len(mails)
	}
	return (processorTime() - start) / time.Duration(count)
}

// sampleOf returns messages of together a megabyte or more, so that a compressor meets new bytes.
func sampleOf(mail func(int) []byte) (mails [][]byte) {
	for total := 0; total < 1<<20; {
		m := append([]byte(nil), mail(len(mails))...)
		mails, total = append(mails, m), total+len(m)
	}
	return mails
}

// newCompressor returns a function that compresses messages in frames like those of a pack, with
// the settings of package pack.
func newCompressor(b *testing.B) func([]byte) {
	b.Helper()
	z, err := newEncoder()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { z.Close() })
	var raw, frame []byte
	return func(p []byte) {
		if raw = append(raw, p...); len(raw) >= floorFrame {
			frame, raw = z.EncodeAll(raw, frame[:0]), raw[:0]
		}
	}
}
