package s3wire

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/cyrusbackup/backupd/objstore"
)

// ContentMD5 remembers whether a bucket wants Content-MD5 with every put. Sending it
// everywhere would cost the processor time of an MD5 for nothing.
type ContentMD5 struct {
	on  atomic.Bool
	loc string
	log *slog.Logger
}

// Init begins with what the location says.
func (c *ContentMD5) Init(loc objstore.Location, log *slog.Logger) {
	c.on.Store(loc.ContentMD5)
	c.loc, c.log = loc.String(), log
}

// Put puts with Content-MD5 where the bucket wants it: without it nothing was stored.
func Put(c *ContentMD5, put func(md5 bool) (objstore.Info, error)) (objstore.Info, error) {
	md5 := c.on.Load()
	info, err := put(md5)
	if md5 || !errors.Is(err, ErrContentMD5) {
		return info, err
	}
	info, err = put(true)
	if err == nil && !c.on.Swap(true) && c.log != nil {
		c.log.Info("the bucket wants Content-MD5 (Object Lock); it is sent from now on", "location", c.loc)
	}
	return info, err
}
