package s3wire

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/cyrusbackup/backupd/objstore"
)

// ContentMD5 remembers whether a bucket requires Content-MD5 with every put. Sending it
// always would waste the processor time of an MD5.
type ContentMD5 struct {
	on  atomic.Bool
	loc string
	log *slog.Logger
}

// Init sets the initial value from the location.
func (c *ContentMD5) Init(loc objstore.Location, log *slog.Logger) {
	c.on.Store(loc.ContentMD5)
	c.loc, c.log = loc.String(), log
}

// Put puts with Content-MD5 if the bucket requires it. A put refused because of a missing
// Content-MD5 stored nothing.
func Put(c *ContentMD5, put func(md5 bool) (objstore.Info, error)) (objstore.Info, error) {
	md5 := c.on.Load()
	info, err := put(md5)
	if md5 || !errors.Is(err, ErrContentMD5) {
		return info, err
	}
	info, err = put(true)
	if err == nil && !c.on.Swap(true) && c.log != nil {
		c.log.Info("the bucket requires Content-MD5 (Object Lock); it is sent from now on", "location", c.loc)
	}
	return info, err
}
