package restore

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"sync"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// requestsAhead is how many requests for frames are made at a time.
	requestsAhead = 3
	// groupsAhead is how many groups are planned in advance: about one window of small mail.
	groupsAhead = 32
)

// Loaded is a message that was read, or the error that prevented it.
type Loaded struct {
	*Message
	Body *Body
	Err  error
}

// Ends reports whether the error affects all messages: the store is unreachable or denies
// access, or the state of the backup cannot be read. Any other Err concerns this message only.
func (l *Loaded) Ends() bool { return ends(l.Err) }

func ends(err error) bool {
	return objstore.IsTemporary(err) || errors.Is(err, ErrState) || errors.Is(err, objstore.ErrDenied) || errors.Is(err, objstore.ErrNoBucket) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// LoadAll is LoadMessages for messages of which only the GUID and the size are known.
func (s *Source) LoadAll(ctx context.Context, guids []cyrus.GUID) iter.Seq[Loaded] {
	return s.LoadMessages(ctx, s.messages(guids))
}

func (s *Source) messages(guids []cyrus.GUID) iter.Seq[*Message] {
	return func(yield func(*Message) bool) {
		for _, g := range guids {
			size, _ := s.Held(g) // an error returns when the message is read
			if !yield(&Message{Record: cyrus.Record{GUID: g, Size: uint32(size)}}) {
				return
			}
		}
	}
}

// LoadMessages yields the messages in order and reads the next ones in the background, on all
// cores: each frame of the bucket is read and decoded once, in bounded memory. msgs runs in
// another goroutine, which has ended when LoadMessages returns. The caller closes each Body.
func (s *Source) LoadMessages(ctx context.Context, msgs iter.Seq[*Message]) iter.Seq[Loaded] {
	return func(yield func(Loaded) bool) {
		a := s.ahead(ctx, msgs)
		defer a.Close()
		a.All()(yield)
	}
}

// Ahead reads messages in the background before anybody asks for them.
type Ahead struct {
	*loader
	cancel context.CancelFunc
}

// LoadAhead is LoadAll, except that reading begins at once. The caller calls Close.
func (s *Source) LoadAhead(ctx context.Context, guids []cyrus.GUID) *Ahead {
	return s.ahead(ctx, s.messages(guids))
}

func (s *Source) ahead(ctx context.Context, msgs iter.Seq[*Message]) *Ahead {
	ctx, cancel := context.WithCancel(ctx)
	l := newLoader(ctx, s)
	l.start(msgs)
	return &Ahead{l, cancel}
}

// Close ends the reading, and closes bodies that All has not yielded. It may be called twice.
func (a *Ahead) Close() {
	a.cancel()
	a.drain()
	a.wait()
}

// All yields the messages in order, once. The caller closes each Body.
func (a *Ahead) All() iter.Seq[Loaded] {
	return func(yield func(Loaded) bool) {
		for g := range a.inOrder {
			<-g.done
			for i := range g.loaded {
				one := g.loaded[i]
				g.loaded[i] = Loaded{}
				if !yield(one) {
					a.cancel()
					g.close()
					return
				}
			}
			select {
			case <-a.slots:
			default: // a worker that was cancelled takes no slot
			}
		}
	}
}

// group is a unit of work: messages that one core reads.
type group struct {
	messages []planned
	loaded   []Loaded
	done     chan struct{} // closed when loaded is set
}

// close closes bodies that nobody wants.
func (g *group) close() {
	for _, l := range g.loaded {
		if l.Body != nil {
			_ = l.Body.Close()
		}
	}
}

// loader reads messages ahead. A planner makes windows, a few fetchers make the requests, and
// workers decode and check the messages of a group.
type loader struct {
	ctx      context.Context // of LoadMessages, which the loader does not outlive
	src      *Source
	requests chan *run
	work     chan *group
	inOrder  chan *group
	slots    chan struct{} // groups with bodies in memory
	all      sync.WaitGroup
}

func newLoader(ctx context.Context, s *Source) *loader {
	workers := runtime.GOMAXPROCS(0)
	return &loader{ctx: ctx, src: s, requests: make(chan *run), work: make(chan *group, groupsAhead),
		inOrder: make(chan *group, groupsAhead), slots: make(chan struct{}, workers+2)}
}

func (l *loader) start(msgs iter.Seq[*Message]) {
	l.all.Go(func() { l.plan(msgs) })
	for range requestsAhead {
		l.all.Go(func() {
			for r := range l.requests {
				r.fetch(l.ctx, l.src.Objects)
			}
		})
	}
	for range runtime.GOMAXPROCS(0) {
		l.all.Go(l.read)
	}
}

func (l *loader) wait() { l.all.Wait() }

// drain waits for the groups that were planned, and closes their bodies.
func (l *loader) drain() {
	for g := range l.inOrder {
		<-g.done
		g.close()
	}
}

// plan makes windows until the messages end or the context is cancelled.
func (l *loader) plan(msgs iter.Seq[*Message]) {
	defer close(l.inOrder)
	defer close(l.work)
	defer close(l.requests)
	kept := l.src.keptFrames()
	w, last := newWindow(), map[history.Frame]*frame{}
	for m := range msgs {
		if !w.add(l.ctx, l.src, m, last, kept) {
			l.begin(w)
			return
		}
		if !w.full() {
			continue
		}
		if !l.begin(w) {
			return
		}
		w, last, kept = newWindow(), w.frames, nil
	}
	if l.begin(w) && len(w.messages) > 0 {
		l.src.keepFrames(w.frames)
	}
}

// begin requests the frames of a window and hands out its groups.
func (l *loader) begin(w *window) bool {
	for _, r := range w.requests() {
		select {
		case l.requests <- r:
		case <-l.ctx.Done():
			return false
		}
	}
	for _, g := range w.groups() {
		select {
		case l.inOrder <- g:
			l.work <- g // the same capacity
		case <-l.ctx.Done():
			return false
		}
	}
	return true
}

// read is a worker.
func (l *loader) read() {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.ctx.Done():
		}
		g, ok := <-l.work
		if !ok {
			return
		}
		g.loaded = make([]Loaded, len(g.messages))
		for i, p := range g.messages {
			g.loaded[i] = l.load(p)
		}
		close(g.done)
	}
}

// load reads one message. If the frame is damaged, Load reports it. If the store is
// unreachable, Load would only try again, for each message.
func (l *loader) load(p planned) Loaded {
	if err := errors.Join(l.ctx.Err(), p.err); err != nil {
		return Loaded{Message: p.Message, Err: err}
	}
	if p.frame != nil {
		b, err := p.frame.bytes()
		if err == nil {
			b, err = p.small.Body(b)
		}
		if err == nil {
			err = l.src.pace(l.ctx, len(b))
		}
		if err == nil {
			return Loaded{Message: p.Message, Body: newBody(b)}
		}
		if ends(err) {
			return Loaded{Message: p.Message, Err: err}
		}
	}
	b, err := l.src.Load(l.ctx, p.GUID)
	return Loaded{p.Message, b, err}
}

// pace waits until n bytes are within the limit.
func (s *Source) pace(ctx context.Context, n int) error {
	for s.Limit != nil && n > 0 {
		part := min(n, s.Limit.Burst())
		if err := s.Limit.WaitN(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// keptFrames returns the decoded frames of the last window, because the next folder, or the
// next batch, often begins in one of them.
func (s *Source) keptFrames() map[history.Frame]*frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[history.Frame]*frame{}
	for at, f := range s.kept {
		if f.held.Load() {
			out[at] = f
		}
	}
	return out
}

// keepFrames keeps the frames of a window.
func (s *Source) keepFrames(frames map[history.Frame]*frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = frames
}
