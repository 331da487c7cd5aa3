package replication

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// maxReserve bounds the GUIDs of one RESERVE. Cyrus asks for 8193 at most
// (imap/sync_support.c, sync_reserve_partition).
const maxReserve = 100000

// applyReserve is APPLY RESERVE: which of these messages must the client send? The answer
// is one MISSING line, or only OK if all messages are stored.
func (c *conn) applyReserve(ctx context.Context) error {
	var r reserve
	if err := r.read(c.dec); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return err
	}
	c.subject = first(r.names)
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	missing, err := s.Reserve(ctx, r.partition, r.names, r.guids)
	if err != nil {
		return fromSession(err)
	}
	return c.missing(missing)
}

// missing writes "* MISSING (guid …)".
func (c *conn) missing(guids []cyrus.GUID) error {
	if len(guids) == 0 {
		return nil
	}
	line := append(c.scratch[:0], "* MISSING ("...)
	for i, g := range guids {
		if i > 0 {
			line = append(line, ' ')
		}
		line = append(line, g.String()...)
		if len(line) >= outputBuffer {
			if err := c.write(line); err != nil {
				return err
			}
			line = line[:0]
		}
	}
	c.scratch = append(line, ")\r\n"...)
	return c.write(c.scratch)
}

// reserve is the argument of APPLY RESERVE. It is read as a stream because a GUID takes
// twenty bytes and a dlist value that holds it six times as much.
type reserve struct {
	partition string
	names     []string
	guids     []cyrus.GUID
	have      map[string]bool
}

func (r *reserve) read(d *dlist.Decoder) error {
	r.have = map[string]bool{"PARTITION": false, "MBOXNAME": false, "GUID": false}
	return d.KVList(func(key string) error {
		if have, known := r.have[key]; have || !known {
			return d.Skip() // the first one counts (imap/dlist.c, dlist_getchild)
		}
		r.have[key] = true
		switch key {
		case "PARTITION":
			s, _, err := d.Text()
			r.partition = s
			return err
		case "MBOXNAME":
			return d.List(func() error { return r.readName(d) })
		}
		return d.List(func() error { return r.readGUID(d) })
	})
}

func (r *reserve) readName(d *dlist.Decoder) error {
	if len(r.names) >= maxReserve {
		return fmt.Errorf("RESERVE: %w: more than %d names", cyrus.ErrBadParameters, maxReserve)
	}
	if err := d.Hold(16); err != nil { // a string in a list
		return err
	}
	s, _, err := d.Text()
	if err == nil {
		err = checkName("MBOXNAME", s)
	}
	r.names = append(r.names, s)
	return err
}

func (r *reserve) readGUID(d *dlist.Decoder) error {
	if len(r.guids) >= maxReserve {
		return fmt.Errorf("RESERVE: %w: more than %d guids", cyrus.ErrBadParameters, maxReserve)
	}
	if err := d.Hold(int64(len(cyrus.GUID{}))); err != nil {
		return err
	}
	g, err := d.GUID()
	r.guids = append(r.guids, g)
	return err
}

func (r *reserve) check() error {
	for _, key := range []string{"PARTITION", "MBOXNAME", "GUID"} {
		if !r.have[key] {
			return fmt.Errorf("RESERVE: %w: %s is missing", cyrus.ErrBadParameters, key)
		}
	}
	return nil
}
