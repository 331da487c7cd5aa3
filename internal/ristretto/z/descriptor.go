package z

import "path/filepath"

// isTable reports whether a file is one of Badger's tables, which never change.
func isTable(filename string) bool { return filepath.Ext(filename) == ".sst" }

// closeTable closes the descriptor of a table: the mapping does not need it, and an index may have
// more tables than the process may have descriptors. Badger v4.9.6 uses the descriptor for the last
// time in OpenTable, before it reads the table with Bytes and before it shares the table between
// goroutines. The name stays. An error would be of no use, since msync has reported any of writing.
func (m *MmapFile) closeTable() {
	if m.table {
		m.table = false
		_ = m.Fd.Close()
	}
}
