package partitions

// ForgetSent removes from the index what logins have sent long ago.
func (s *Set) ForgetSent() { s.forgetSent() }
