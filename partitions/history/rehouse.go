package history

// Rehouse reads the blocks in obsolete objects, so that the next WriteCheckpoint puts them
// into new ones.
func (m *Mem) Rehouse(obsolete func(object string) bool) error {
	for _, b := range m.order {
		for _, block := range b.blocks {
			if block.changed || block.ref.Object == "" || !obsolete(block.ref.Object) {
				continue
			}
			raw, err := m.source.read(m.ctx, recordBlocks, block.ref, nil)
			if err != nil {
				return err
			}
			if block.packed, err = m.source.spill.put(nil, raw); err != nil {
				return err
			}
			block.ref.Object = ""
		}
	}
	if err := rehouseLines(&m.messages, obsolete); err != nil {
		return err
	}
	return rehouseLines(&m.places, obsolete)
}

func rehouseLines[T any](l *lineBlocks[T], obsolete func(string) bool) error {
	for _, b := range l.blocks {
		if b.open || b.ref.Object == "" || !obsolete(b.ref.Object) {
			continue
		}
		raw, err := l.source.read(l.ctx, l.kind, b.ref, nil)
		if err != nil {
			return err
		}
		if b.packed, err = l.source.spill.put(nil, raw); err != nil {
			return err
		}
		b.ref.Object = ""
	}
	return nil
}
