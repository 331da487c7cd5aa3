package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// decodeRecords reads the records of an event, at most MaxRecordsPerEvent of them.
func decodeRecords(d *json.Decoder, out *[]*cyrus.Record) error {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.Join(errors.New("want an array of records"), err)
	}
	for d.More() {
		if len(*out) == MaxRecordsPerEvent {
			return fmt.Errorf("more than %d records", MaxRecordsPerEvent)
		}
		r := new(cyrus.Record)
		if err := d.Decode(r); err != nil {
			return err
		}
		*out = append(*out, r)
	}
	_, err := d.Token()
	return err
}

// append appends the record as a line of a block, without a newline. It omits zero
// fields, so that a block written before its commit contains only the records.
func (r *RecordState) append(dst []byte) []byte {
	dst = append(dst, '{')
	if r.Commit != 0 {
		dst = append(dst, `"commit":`...)
		dst = strconv.AppendUint(dst, r.Commit, 10)
		dst = append(dst, ',')
	}
	if r.Expunged != 0 {
		dst = append(dst, `"expunged":`...)
		dst = strconv.AppendInt(dst, r.Expunged, 10)
		dst = append(dst, ',')
	}
	if r.Gone {
		dst = append(dst, `"gone":true,`...)
	}
	dst = append(dst, `"record":`...)
	return append(cyrus.AppendJSON(dst, &r.Record), '}')
}

// MarshalJSON writes {"commit":…,"expunged":…,"gone":true,"record":{…}}, without zero fields.
func (r RecordState) MarshalJSON() ([]byte, error) { return r.append(nil), nil }

// UnmarshalJSON reads the output of MarshalJSON.
func (r *RecordState) UnmarshalJSON(b []byte) error {
	return r.read(b, nil)
}

// read is UnmarshalJSON with a scanner that many records share.
func (r *RecordState) read(b []byte, j *cyrus.JSONScanner) error {
	*r = RecordState{}
	s := scanner{exactjson.Over(b)}
	s.Want(`{`)
	if s.Has(`"commit":`) {
		r.Commit = s.number()
		s.Want(`,`)
	}
	if s.Has(`"expunged":`) {
		r.Expunged = int64(s.number())
		s.Want(`,`)
	}
	r.Gone = s.Has(`"gone":true,`)
	s.Want(`"record":`)
	rest := s
	s.record(j, &r.Record)
	s.Want(`}`)
	if s.Ended() {
		return nil
	}
	if rest.OK && len(rest.B) > 0 && rest.B[len(rest.B)-1] == '}' {
		return r.Record.UnmarshalJSON(rest.B[:len(rest.B)-1])
	}
	return r.decode(b)
}

// decode reads a line in any form.
func (r *RecordState) decode(b []byte) error {
	*r = RecordState{}
	have := false
	d := json.NewDecoder(bytes.NewReader(b))
	err := eachKey(d, func(key string) error {
		switch key {
		case "commit":
			return d.Decode(&r.Commit)
		case "expunged":
			return d.Decode(&r.Expunged)
		case "gone":
			return d.Decode(&r.Gone)
		case "record":
			have = true
			return d.Decode(&r.Record)
		}
		return errors.New("unknown key")
	})
	if err == nil && !have {
		err = errors.New("no record")
	}
	return err
}
