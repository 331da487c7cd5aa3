package faultstore

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

func shifted(i objstore.Info, by time.Duration) objstore.Info {
	for _, t := range []*time.Time{&i.StoreTime, &i.Modified} {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	return i
}

func shiftedError(err error, by time.Duration) error {
	var e *objstore.Error
	if by == 0 || !errors.As(err, &e) || e.StoreTime.IsZero() {
		return err
	}
	c := *e
	c.StoreTime = c.StoreTime.Add(by)
	return &c
}

// garbled is the object with altered bytes.
func garbled(o *objstore.Object, off int64, change func(int64, []byte) []byte) (*objstore.Object, error) {
	b, err := io.ReadAll(o)
	if err := errors.Join(err, o.Close()); err != nil {
		return nil, asError("get", o.Key, err)
	}
	if off < 0 {
		off = max(0, o.Size+off)
	}
	return &objstore.Object{Info: o.Info, ReadCloser: io.NopCloser(bytes.NewReader(change(off, b)))}, nil
}
