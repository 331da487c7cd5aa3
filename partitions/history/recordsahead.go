package history

import (
	"iter"
	"runtime"
)

// recordsAhead decodes the next blocks of a mailbox on other goroutines, while the loop over
// Mem.Records has the current one.
type recordsAhead struct {
	cache   *recordCache
	window  window
	started []*startedBlock
}

// startedBlock is a block in work. The loop may change the block meanwhile; the result then
// does not count.
type startedBlock struct {
	block *memBlock
	ref   BlockRef
	recs  []*RecordState
	err   error
	done  chan struct{}
}

// start starts to decode the first blocks of the list that have to be read from the store.
func (a *recordsAhead) start(next []*memBlock) {
	most := min(runtime.GOMAXPROCS(0), decodedAtOnce)
	for i, b := range next[:min(len(next), most)] {
		if len(a.started) == most || b.used != nil || b.changed || b.ref.Object == "" {
			return
		}
		if a.of(b) != nil {
			continue
		}
		s := &startedBlock{block: b, ref: b.ref, done: make(chan struct{})}
		a.started = append(a.started, s)
		source := a.cache.source
		fetched := source.fetch(a.cache.ctx, &a.window, recordBlocks, s.ref, unchanged(next[i+1:]))
		go func() {
			defer close(s.done)
			if s.err = fetched.err; s.err == nil {
				s.recs, s.err = decodeBlock(source, fetched, parseRecords)
			}
		}()
	}
}

func parseRecords(ref BlockRef, raw []byte) ([]*RecordState, error) {
	recs, err := parseBlock(raw, ref)
	return recs, inObject(ref.Object, err)
}

// of returns the work on a block, or nil.
func (a *recordsAhead) of(b *memBlock) *startedBlock {
	for _, s := range a.started {
		if s.block == b {
			return s
		}
	}
	return nil
}

// load is like cache.load, and uses the blocks that were decoded ahead.
func (a *recordsAhead) load(b *memBlock) error {
	for len(a.started) > 0 {
		s := a.started[0]
		if s.block != b && s.ref.Block >= b.ref.Block {
			break
		}
		a.started = a.started[1:]
		<-s.done
		if s.block == b && b.used == nil && !b.changed && b.ref == s.ref {
			if s.err != nil {
				return s.err
			}
			b.recs = s.recs
			a.cache.keep(b)
			return a.cache.shrink()
		}
	}
	return a.cache.load(b)
}

// end waits for the blocks in work.
func (a *recordsAhead) end() {
	for _, s := range a.started {
		<-s.done
	}
}

// unchanged yields blocks without their bytes, up to the first that the loop has changed.
func unchanged(blocks []*memBlock) iter.Seq[blockBytes] {
	return func(yield func(blockBytes) bool) {
		for _, b := range blocks {
			if b.changed || !yield(blockBytes{kind: recordBlocks, ref: b.ref}) {
				return
			}
		}
	}
}
