package partitions

// LossCount returns how often losses were found in a partition. Each backup is searched for them when it is next opened.
func (s *Set) LossCount(name string) uint64 {
	for _, p := range s.Partitions() {
		if p.name == name {
			return p.lossCount().Count
		}
	}
	return 0
}

// NoteLoss records that an object of a partition is absent.
func (s *Set) NoteLoss(name, object string) error {
	for _, p := range s.Partitions() {
		if p.name != name {
			continue
		}
		if _, err := p.noteLost([]loss{{object: objectID(object), how: lossAbsent}}, true); err != nil {
			return err
		}
	}
	return nil
}
