package restore

// Decoded returns how many frames LoadMessages has decoded.
func (s *Source) Decoded() int64 { return s.decoded.Load() }

// Ref returns the Ref of a record.
func (s *Source) Ref(uniqueid string, uid uint32) Ref { return s.ref(uniqueid, uid) }
