package sasldb

import (
	"encoding/binary"
	"slices"
)

// Format is a kind of database, and the tools that dump it.
type Format struct {
	Name     string
	Tools    []string // any of them
	Options  []string // of the tools
	Packages string   // that have a tool, for people
}

// Command returns the arguments of a tool that dumps the file.
func (f *Format) Command(tool, file string) []string {
	return slices.Concat([]string{tool}, f.Options, []string{file})
}

// MagicSize is how many bytes of a file Recognise needs.
const MagicSize = 20

// Recognise returns the kind of a database by its first bytes; nil if it is none.
func Recognise(head []byte) *Format {
	if len(head) < MagicSize {
		return nil
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		at := func(offset int) uint32 { return order.Uint32(head[offset:]) }
		switch {
		case at(12) == 0x061561, at(12) == 0x053162: // Berkeley DB, dbinc/db_page.h: hash and btree
			return &Format{Name: "Berkeley DB", Tools: []string{"db5.3_dump", "db_dump"}, Packages: "db5.3-util in Debian, libdb-utils in Fedora and RHEL 8"}
		case slices.Contains([]uint32{0x13579acd, 0x13579ace, 0x13579acf, 0x13579ad0, 0x13579ad1}, at(0)): // GDBM, gdbmdefs.h
			return &Format{Name: "GDBM", Tools: []string{"gdbm_dump"}, Packages: "gdbmtool in Debian, gdbm in Fedora and RHEL"}
		case at(16) == 0xbeefc0de, at(12) == 0xbeefc0de: // LMDB, mdb.c: a page has a head of 16 bytes, of 12 on 32-bit machines
			return &Format{Name: "LMDB", Tools: []string{"mdb_dump"}, Options: []string{"-n"}, Packages: "lmdb-utils in Debian, lmdb in Fedora and RHEL"}
		}
	}
	return nil
}
