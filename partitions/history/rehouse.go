package history

// Rehouse makes the next WriteCheckpoint put those blocks again that lie in objects which
// are to go. It reads them.
func (m *Mem) Rehouse(goes func(object string) bool) error {
	for _, b := range m.order {
		for _, block := range b.blocks {
			if block.changed || block.ref.Object == "" || !goes(block.ref.Object) {
				continue
			}
			raw, err := m.source.read(m.ctx, recordBlocks, block.ref)
			if err != nil {
				return err
			}
			if block.packed, err = m.source.spill.put(nil, raw); err != nil {
				return err
			}
			block.ref.Object = ""
		}
	}
	if err := rehouseLines(&m.messages, goes); err != nil {
		return err
	}
	return rehouseLines(&m.places, goes)
}

func rehouseLines[T any](l *lineBlocks[T], goes func(string) bool) error {
	for _, b := range l.blocks {
		if b.open || b.ref.Object == "" || !goes(b.ref.Object) {
			continue
		}
		raw, err := l.source.read(l.ctx, l.kind, b.ref)
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
