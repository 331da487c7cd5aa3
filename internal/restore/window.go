package restore

import (
	"cmp"
	"context"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// perWindow limits the decoded frames of a window, in bytes. At most three windows are in
	// memory: one being read, the next one, and the frames of the one before.
	perWindow = 8 << 20
	// windowMessages limits the messages of a window.
	windowMessages = 4096
	// A group is the unit of work of one core.
	perGroup      = 512 << 10
	groupMessages = 64
)

// planned is a message of a window. Without a frame it is read by Load, unless err ends the
// restore.
type planned struct {
	*Message
	small *history.Small
	frame *frame
	err   error
}

// window is a list of messages whose frames are read together: each frame once, neighbouring
// frames with one request.
type window struct {
	messages []planned
	frames   map[history.Frame]*frame
	raw      int64
}

func newWindow() *window { return &window{frames: map[history.Frame]*frame{}} }

func (w *window) full() bool { return w.raw >= perWindow || len(w.messages) >= windowMessages }

// add plans a message. Its frame is taken from one of the earlier windows if possible. It returns
// false if the store is unreachable, and the message is the last one then.
func (w *window) add(ctx context.Context, s *Source, m *Message, earlier ...map[history.Frame]*frame) bool {
	p := planned{Message: m}
	small, err := s.small(ctx, m)
	if ends(err) {
		p.err = err
	} else if err == nil && small != nil {
		p.small, p.frame = small, w.frames[small.Frame]
		for _, frames := range earlier {
			if p.frame == nil {
				p.frame = frames[small.Frame]
			}
		}
		if p.frame == nil {
			p.frame = &frame{Frame: small.Frame, count: &s.decoded}
		}
		if w.frames[small.Frame] == nil {
			w.frames[small.Frame] = p.frame
			w.raw += max(small.Raw, small.Len)
		}
	}
	w.messages = append(w.messages, p)
	return p.err == nil
}

// small returns nil if the message is read in another way, which also reports its errors.
func (s *Source) small(ctx context.Context, m *Message) (*history.Small, error) {
	state, err := s.state(m.GUID)
	if err != nil {
		return nil, err
	}
	return s.Objects.Small(ctx, state, s.places)
}

// requests returns the requests for new frames, as they are needed.
func (w *window) requests() []*run {
	var list []*frame
	first := map[*frame]int{}
	for i, p := range w.messages {
		if _, seen := first[p.frame]; p.frame != nil && p.frame.run == nil && !seen {
			first[p.frame] = i
			list = append(list, p.frame)
		}
	}
	slices.SortFunc(list, func(a, b *frame) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Off, b.Off))
	})
	out := runs(list)
	need := map[*run]int{}
	for _, f := range list {
		if at, ok := need[f.run]; !ok || first[f] < at {
			need[f.run] = first[f]
		}
	}
	slices.SortFunc(out, func(a, b *run) int { return cmp.Compare(need[a], need[b]) })
	return out
}

// groups splits the messages into units of work.
func (w *window) groups() []*group {
	var out []*group
	for rest := w.messages; len(rest) > 0; {
		n, size := 0, int64(0)
		for n < len(rest) && n < groupMessages && (n == 0 || size+int64(rest[n].Size) <= perGroup) {
			size += int64(rest[n].Size)
			n++
		}
		out = append(out, &group{messages: rest[:n], done: make(chan struct{})})
		rest = rest[n:]
	}
	return out
}
