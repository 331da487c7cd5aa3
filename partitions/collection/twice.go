package collection

// A backup that is set aside while a count lists backups is found below both prefixes, and so is one
// whose set-aside was interrupted. Its objects below backups/ are older than those of the copy. If the
// copy is older, it is of a former backup, and the backup is another one.

// isTwice reports whether a copy is of a backup that the same count has found. copies have one path.
func isTwice(c sighting, copies []sighting) bool {
	if !c.aside() {
		return false
	}
	for _, o := range copies {
		if !o.aside() && o.first() < c.first() {
			return true
		}
	}
	return false
}

// twice counts the copies that were set aside of backups that the same count has found. recent are
// those of them that presence has counted as set aside.
func twice(seen *sightings) (all, recent int, err error) {
	var copies []sighting // of one path
	add := func() {
		for _, c := range copies {
			if !isTwice(c, copies) {
				continue
			}
			if all++; c.recent() {
				recent++
			}
		}
		copies = copies[:0]
	}
	for s, err := range seen.sorted() {
		if err != nil {
			return 0, 0, err
		}
		if len(copies) > 0 && copies[0].path() != s.path() {
			add()
		}
		copies = append(copies, s)
	}
	add()
	return all, recent, nil
}
