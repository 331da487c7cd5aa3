package drill

import (
	"fmt"
	"math"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// compareCRC compares a CRC, of files or of a server's records, with that of the backup's records, and
// with the last one of the mail server.
func (d *drill) compareCRC(f *restore.Folder, crc cyrus.CRC, what string) {
	if f.Merged {
		return
	}
	if crc.Basic != f.From.CRC.Basic {
		d.problem("%s: the CRC of the %s is %d, that of the backup %d", f.From.Name, what, crc.Basic, f.From.CRC.Basic)
		return
	}
	if theirs := reportedCRC(f.From.Fields); theirs != 0 && theirs != crc.Basic {
		d.Note(fmt.Sprintf("%s: the CRC of the %s is %d, and the mail server reported %d last: a sync has not ended, or its own CRC is wrong", f.From.Name, what, crc.Basic, theirs))
	}
}

// reportedCRC returns the CRC that the mail server last sent; 0 = none.
func reportedCRC(fields []dlist.Pair) uint32 {
	for _, p := range fields {
		if p.Key == "SYNC_CRC" {
			n, err := dlist.ParseNum(p.Key, p.Value.Str, math.MaxUint32)
			if err != nil {
				return 0
			}
			return uint32(n)
		}
	}
	return 0
}
