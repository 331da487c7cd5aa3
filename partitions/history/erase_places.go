package history

// ErasePlaces replaces places of chunks. of returns the place of an erased chunk, and whether the chunk is one. It
// reports whether anything has changed. The state stays: only WriteCheckpoint shows the difference.
func (m *Mem) ErasePlaces(of func(ChunkID) (Place, bool)) (changed bool, err error) {
	if err := m.whole(); err != nil {
		return false, err
	}
	return m.places.change(func(p Place) ([]byte, bool) {
		now, ok := of(p.Chunk)
		if !ok || p.Erased() {
			return nil, false
		}
		return now.append(nil), true
	})
}

// change replaces the lines for which fn returns other ones, with the same hash. It does not change other blocks.
func (l *lineBlocks[T]) change(fn func(T) (line []byte, changed bool)) (changed bool, err error) {
	for _, b := range l.blocks {
		raw, err := l.bytes(b)
		if err != nil {
			return changed, err
		}
		var now []byte
		did := false
		parse := l.parser()
		err = eachLineOf(raw, func(line []byte) error {
			t, err := parse(line)
			if err != nil {
				return err
			}
			if other, is := fn(t); is {
				now, did = append(now, other...), true
			} else {
				now = append(append(now, line...), '\n')
			}
			return nil
		})
		if err != nil {
			return changed, inObject(b.ref.Object, err)
		}
		if !did {
			continue
		}
		changed = true
		last := b.raw != nil
		b.raw, b.open, b.ref = now, true, BlockRef{Block: b.ref.Block, Count: b.ref.Count}
		if err := l.seal(b); err != nil {
			return changed, err
		}
		if !last {
			b.raw = nil
		}
		l.undecode(b)
	}
	return changed, nil
}
