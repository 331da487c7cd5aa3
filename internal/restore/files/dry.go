package files

import (
	"fmt"
	"slices"

	"backupd/internal/restore"
	"backupd/replication/cyrus"
)

// dry says what would be written, and touches nothing.
func (d *Destination) dry(folders []*restore.Folder) error {
	for _, f := range folders {
		have, err := d.peek(d.mailbox(f))
		if err == nil {
			err = d.dryFolder(f, have)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		d.rep.Folder()
	}
	return nil
}

// peek counts the messages that a mailbox's files hold already. An mbox or a tar is
// written whole: nothing of it is there before.
func (d *Destination) peek(name mailbox) (map[cyrus.GUID]int, error) {
	switch d.opt.Kind {
	case "maildir":
		return (&maildir{root: d.opt.Path}).peek(name)
	case "eml":
		return (&tree{root: d.opt.Path}).peek(name)
	}
	return nil, nil
}

func (d *Destination) dryFolder(f *restore.Folder, have map[cyrus.GUID]int) error {
	var size int64
	added := 0
	for refs := range slices.Chunk(f.Messages, perRead) {
		msgs, _, err := d.lacking(refs, have)
		if err != nil {
			return err
		}
		for _, m := range msgs {
			size += int64(m.Size)
			d.rep.Added(1, int64(m.Size))
		}
		added += len(msgs)
	}
	d.rep.Say("%s: %d messages would be written (%d bytes), %d are there", f.Name, added, size, len(f.Messages)-added)
	return nil
}
