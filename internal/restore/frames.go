package restore

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// maxRun is the largest request for neighbouring frames.
	maxRun = 2 << 20
	// maxGap is how many bytes between two frames are read and dropped to save a request.
	maxGap = 64 << 10
)

// run is one request for neighbouring frames of an object.
type run struct {
	history.Frame
	done  chan struct{} // closed when b and err are set
	b     []byte
	err   error
	users atomic.Int32 // frames that were not decoded yet
}

func (r *run) fetch(ctx context.Context, o *history.Objects) {
	defer close(r.done)
	r.b, r.err = o.Range(ctx, r.Object, r.Off, r.Len)
}

// frame is a frame of a run. It is decoded once, by the first reader that needs it.
type frame struct {
	history.Frame
	run   *run
	once  sync.Once
	raw   []byte
	err   error
	held  atomic.Bool   // raw is set
	count *atomic.Int64 // of decoded frames
}

// bytes returns the decoded frame.
func (f *frame) bytes() ([]byte, error) {
	<-f.run.done
	f.once.Do(f.decode)
	return f.raw, f.err
}

func (f *frame) decode() {
	if f.err = f.run.err; f.err == nil {
		at := f.Off - f.run.Off
		f.count.Add(1)
		f.raw, f.err = pack.DecodeFrame(f.run.b[at:at+f.Len], f.Off)
		f.held.Store(f.err == nil)
	}
	if f.run.users.Add(-1) == 0 {
		f.run.b = nil
	}
}

// runs groups new frames into requests. frames are in order of object and offset.
func runs(frames []*frame) []*run {
	var out []*run
	for _, f := range frames {
		end := f.Off + f.Len
		if len(out) > 0 {
			last := out[len(out)-1]
			lastEnd := last.Off + last.Len
			if last.Object == f.Object && f.Off >= lastEnd && f.Off-lastEnd <= maxGap && end-last.Off <= maxRun {
				last.Len = end - last.Off
				last.users.Add(1)
				f.run = last
				continue
			}
		}
		r := &run{Frame: f.Frame, done: make(chan struct{})}
		r.users.Store(1)
		f.run = r
		out = append(out, r)
	}
	return out
}
