package restore

// Decoded returns how many frames LoadMessages has decoded.
func (s *Source) Decoded() int64 { return s.decoded.Load() }
