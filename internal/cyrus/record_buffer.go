package cyrus

// RecordBuffer is a record that owns its memory and reuses it.
type RecordBuffer struct {
	Record
	flags  []string
	annots annotations
}

// Set makes the record a copy of r that stays valid when r is overwritten.
func (b *RecordBuffer) Set(r *Record) {
	b.Record = *r
	if len(r.Flags) > 0 {
		b.flags = append(b.flags[:0], r.Flags...)
		b.Flags = b.flags
	}
	if len(r.Annotations) == 0 {
		return
	}
	b.annots.resize(len(r.Annotations))
	for i := range r.Annotations {
		a := &r.Annotations[i]
		if a.Value == nil {
			b.annots.set(i, *a, "", true)
		} else {
			b.annots.set(i, *a, *a.Value, false)
		}
	}
	b.Annotations = b.annots.list
}

// Clone returns a copy of r that shares no memory with it, except for Extra.
func (r *Record) Clone() *Record {
	var b RecordBuffer
	b.Set(r)
	return &b.Record
}
