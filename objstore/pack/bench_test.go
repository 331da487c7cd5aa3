package pack

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const packSize = 12 << 20

func BenchmarkWriterAdd(b *testing.B) {
	for _, size := range []int{5_000, 1_000_000} {
		b.Run(fmt.Sprintf("%dKB", size/1000), func(b *testing.B) {
			var bodies [50][]byte
			for i := range bodies {
				bodies[i] = text(uint64(i), size)
			}
			var names []string
			for i := range 20_000 {
				names = append(names, fmt.Sprintf("%040x.eml", i))
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			buf := make([]byte, 2*packSize)
			w := NewWriter(buf, Options{})
			report := perCPU(b, int64(size))
			for b.Loop() {
				if w.Len() >= packSize || w.Count() == len(names) {
					buf, _ = w.Finish()
					w = NewWriter(buf, Options{})
				}
				if err := w.Add(names[w.Count()], bodies[w.Count()%len(bodies)]); err != nil {
					b.Fatal(err)
				}
			}
			report()
		})
	}
}

// perCPU reports MB per second of processor time, which varies less on a busy machine than
// elapsed time. Call it before the loop, and its result after the loop.
func perCPU(b *testing.B, size int64) (report func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() {
		b.ReportMetric(float64(size)*float64(b.N)/1e6/(used()-before).Seconds(), "MB/cpu-s")
	}
}

// BenchmarkCommit writes the object of one commit: a few hundred bytes and a message.
func BenchmarkCommit(b *testing.B) {
	commit, mail := text(1, 900), text(2, 5_000)
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		w := NewWriter(buf, Options{})
		_ = w.Add("commit.ndjson", commit)
		_ = w.Add("da39a3ee5e6b4b0d3255bfef95601890afd80709.eml", mail)
		var err error
		if buf, err = w.Finish(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(buf)), "bytes/object")
}

func BenchmarkOpenEntry(b *testing.B) {
	for _, size := range []int{5_000, 1_000_000} {
		b.Run(fmt.Sprintf("%dKB", size/1000), func(b *testing.B) {
			var files []file
			for i := range 5_000_000 / size {
				files = append(files, file{fmt.Sprintf("%040x.eml", i), text(uint64(i), size)})
			}
			obj, d := build(b, Options{}, files)
			e := d.Entries[len(files)/2]
			b.SetBytes(int64(size))
			b.ReportAllocs()
			report := perCPU(b, int64(size))
			for b.Loop() {
				r := OpenEntry(e, bytes.NewReader(obj[e.Off:e.Off+e.Len]))
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
			report()
		})
	}
}

func BenchmarkScan(b *testing.B) {
	mail, size := corpus(b)
	obj, _ := build(b, Options{}, mail)
	b.SetBytes(size)
	b.ReportAllocs()
	report := perCPU(b, size)
	for b.Loop() {
		if err := Scan(bytes.NewReader(obj), func(string, int64, io.Reader) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	report()
}

func BenchmarkReadDirectory(b *testing.B) {
	var files []file
	for i := range 2000 {
		files = append(files, file{fmt.Sprintf("%040x.eml", i), text(uint64(i), 100)})
	}
	obj, _ := build(b, Options{}, files)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadDirectory(fetchFrom(obj), int64(len(obj))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLevel prints the table of levels for real mail: ratio and MB/s.
func BenchmarkLevel(b *testing.B) {
	mail, size := corpus(b)
	for _, l := range []Level{Fastest, Default, Better} {
		for _, frame := range []int{4 << 10, 64 << 10, 256 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%v/%dKiB", l, frame>>10), func(b *testing.B) {
				b.SetBytes(size)
				var buf []byte
				report := perCPU(b, size)
				for b.Loop() {
					w := NewWriter(buf, Options{Level: l, FrameSize: frame})
					for _, f := range mail {
						if err := w.Add(f.name, f.body); err != nil {
							b.Fatal(err)
						}
					}
					var err error
					if buf, err = w.Finish(); err != nil {
						b.Fatal(err)
					}
				}
				report()
				b.ReportMetric(float64(size)/float64(len(buf)), "ratio")
			})
		}
	}
}

// corpus returns real mail.
func corpus(b *testing.B) (mail []file, size int64) {
	b.Helper()
	const dir = "../../testdata/mail"
	list, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for i, e := range list {
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			b.Fatal(err)
		}
		mail = append(mail, file{fmt.Sprintf("%040x.eml", i), body})
		size += int64(len(body))
	}
	return mail, size
}
