package cyrus

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// AppendJSON appends a record as one JSON object, the form of records in the log:
//
//	{"uid":1,"modseq":"4","last_updated":1700000000,"flags":["\\Seen"],"internaldate":1699999990,
//	 "size":64,"guid":"67f1…","annotations":[{"entry":"/comment","userid":"","modseq":"7","value":"x"}],
//	 "extra":[["KEY",value]]}
//
// modseqs are strings because they may exceed 2^53. "annotations" and "extra" are omitted
// if empty. A string that is not UTF-8 is {"b64":"…"}. Values in "extra" have the JSON form
// of package dlist.
func AppendJSON(dst []byte, r *Record) []byte {
	dst = append(dst, `{"uid":`...)
	dst = strconv.AppendUint(dst, uint64(r.UID), 10)
	dst = append(dst, `,"modseq":"`...)
	dst = strconv.AppendUint(dst, r.ModSeq, 10)
	dst = append(dst, `","last_updated":`...)
	dst = strconv.AppendInt(dst, r.LastUpdated, 10)
	dst = append(dst, `,"flags":[`...)
	for i, f := range r.Flags {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = dlist.AppendJSONString(dst, f)
	}
	dst = append(dst, `],"internaldate":`...)
	dst = strconv.AppendInt(dst, r.InternalDate, 10)
	dst = append(dst, `,"size":`...)
	dst = strconv.AppendUint(dst, uint64(r.Size), 10)
	dst = append(dst, `,"guid":"`...)
	dst = r.GUID.appendHex(dst)
	dst = append(dst, '"')
	if len(r.Annotations) > 0 {
		dst = append(dst, `,"annotations":[`...)
		for i := range r.Annotations {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = r.Annotations[i].appendJSON(dst)
		}
		dst = append(dst, ']')
	}
	return append(appendJSONExtra(dst, r.Extra), '}')
}

func (a *Annotation) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"entry":`...)
	dst = dlist.AppendJSONString(dst, a.Entry)
	dst = append(dst, `,"userid":`...)
	dst = dlist.AppendJSONString(dst, a.UserID)
	dst = append(dst, `,"modseq":"`...)
	dst = strconv.AppendUint(dst, a.ModSeq, 10)
	dst = append(dst, `","value":`...)
	if a.Value == nil {
		dst = append(dst, "null"...)
	} else {
		dst = dlist.AppendJSONString(dst, *a.Value)
	}
	return append(appendJSONExtra(dst, a.Extra), '}')
}

func appendJSONExtra(dst []byte, extra []dlist.Pair) []byte {
	if len(extra) == 0 {
		return dst
	}
	dst = append(dst, `,"extra":`...)
	return dlist.AppendJSONPairs(dst, extra)
}

// MarshalJSON is AppendJSON.
func (r *Record) MarshalJSON() ([]byte, error) { return AppendJSON(nil, r), nil }

// MarshalJSON writes an annotation in the form of a record's JSON.
func (a Annotation) MarshalJSON() ([]byte, error) { return a.appendJSON(nil), nil }

type recordJSON struct {
	UID          uint32             `json:"uid"`
	ModSeq       uint64             `json:"modseq,string"`
	LastUpdated  int64              `json:"last_updated"`
	Flags        []dlist.JSONString `json:"flags"`
	InternalDate int64              `json:"internaldate"`
	Size         uint32             `json:"size"`
	GUID         GUID               `json:"guid"`
	Annotations  []Annotation       `json:"annotations"`
	Extra        []dlist.Pair       `json:"extra"`
}

// UnmarshalJSON reads the output of AppendJSON, with members in any order and with any
// white space. Unknown members are ignored, missing ones are zero.
func (r *Record) UnmarshalJSON(b []byte) error {
	if scanRecord(b, r) {
		return nil
	}
	var j recordJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	*r = Record{UID: j.UID, ModSeq: j.ModSeq, LastUpdated: j.LastUpdated, InternalDate: j.InternalDate,
		Size: j.Size, GUID: j.GUID, Annotations: j.Annotations, Extra: j.Extra}
	for _, f := range j.Flags {
		r.Flags = append(r.Flags, string(f))
	}
	return nil
}

// UnmarshalJSON reads an annotation of a record's JSON.
func (a *Annotation) UnmarshalJSON(b []byte) error {
	var j struct {
		Entry  dlist.JSONString  `json:"entry"`
		UserID dlist.JSONString  `json:"userid"`
		ModSeq uint64            `json:"modseq,string"`
		Value  *dlist.JSONString `json:"value"`
		Extra  []dlist.Pair      `json:"extra"`
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("annotation: %w", err)
	}
	*a = Annotation{Entry: string(j.Entry), UserID: string(j.UserID), ModSeq: j.ModSeq, Value: (*string)(j.Value), Extra: j.Extra}
	return nil
}

// MarshalText is String.
func (g GUID) MarshalText() ([]byte, error) { return g.appendHex(nil), nil }

// UnmarshalText is ParseGUID.
func (g *GUID) UnmarshalText(b []byte) (err error) {
	*g, err = ParseGUID(string(b))
	return err
}
