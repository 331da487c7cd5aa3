package main

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
)

// floor is what the bytes of mail cost at least: SHA-1 (the client's GUID), SHA-256 (the name of
// its chunk) and zstd, in frames and at the level of a pack. Seconds of one core, and of all.
type floor struct {
	One, All  float64
	Messages  int
	Processor float64 // seconds, for all messages once
	Kept      int64   // bytes after compression
}

const (
	floorFrame = 256 << 10 // of small messages
	floorVerb  = "floor"   // makes this program measure instead of running workloads
)

// floor measures in a new process, whose memory holds the mail.
func (l *lab) floor(ctx context.Context, maildir string) (f floor, err error) {
	program, err := os.Executable()
	if err != nil {
		return f, err
	}
	c, err := timed(ctx, exec.Command(program, floorVerb, maildir))
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(c.out, &f)
}

// measureFloor prints the floor of the messages below a directory, as JSON.
func measureFloor(dir string, out io.Writer) error {
	mails, err := readMail(dir)
	if err != nil {
		return err
	}
	f := floor{Messages: len(mails)}
	start, cpu := time.Now(), processorTime()
	if f.Kept, err = payFloor(mails); err != nil {
		return err
	}
	f.One, f.Processor = time.Since(start).Seconds(), (processorTime() - cpu).Seconds()
	start = time.Now()
	if err := onAllCores(mails); err != nil {
		return err
	}
	f.All = time.Since(start).Seconds()
	return json.NewEncoder(out).Encode(f)
}

func readMail(dir string) (mails [][]byte, err error) {
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !isMail(d.Name()) {
			return err
		}
		b, err := os.ReadFile(path)
		mails = append(mails, b)
		return err
	})
	if err == nil && len(mails) == 0 {
		err = fmt.Errorf("%s has no mail", dir)
	}
	return mails, err
}

func onAllCores(mails [][]byte) error {
	n := runtime.NumCPU()
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { _, errs[i] = payFloor(mails[len(mails)*i/n : len(mails)*(i+1)/n]) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// payFloor does the work for each message, and returns the size of the frames.
func payFloor(mails [][]byte) (kept int64, err error) {
	z, err := newEncoder()
	if err != nil {
		return 0, err
	}
	defer z.Close()
	var raw, frame []byte
	for _, p := range mails {
		sha1.Sum(p)
		sha256.Sum256(p)
		if raw = append(raw, p...); len(raw) >= floorFrame {
			frame, raw = z.EncodeAll(raw, frame[:0]), raw[:0]
			kept += int64(len(frame))
		}
	}
	return kept + int64(len(z.EncodeAll(raw, frame[:0]))), nil
}

// newEncoder returns an encoder with the settings of package pack.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderCRC(true), zstd.WithWindowSize(1<<20), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
}

// processorTime is the time that this process has used, in user mode and in the kernel.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
