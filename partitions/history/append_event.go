package history

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// The events that make up most of a log are written without reflection. Each append writes
// the keys after "event", with a comma before the first one.

func (e *RecordsEvent) append(dst []byte) []byte {
	dst = appendUniqueID(dst, e.UniqueID)
	dst = append(dst, `,"records":[`...)
	for i, r := range e.Records {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = cyrus.AppendJSON(dst, r)
	}
	return append(dst, ']')
}

func (e *MessagesEvent) append(dst []byte) []byte {
	dst = append(dst, `,"messages":[`...)
	for i := range e.Messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = e.Messages[i].append(dst, true)
	}
	return append(dst, ']')
}

func (e *RecordBlocksEvent) append(dst []byte) []byte {
	dst = appendUniqueID(dst, e.UniqueID)
	if e.Blocks == nil {
		return append(dst, `,"blocks":null`...)
	}
	dst = append(dst, `,"blocks":[`...)
	for i, r := range e.Blocks {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"block":`...)
		dst = strconv.AppendUint(dst, uint64(r.Block), 10)
		dst = append(dst, `,"count":`...)
		dst = strconv.AppendInt(dst, int64(r.Count), 10)
		dst = append(dst, `,"sha256":`...)
		dst = appendKey(dst, r.SHA256)
		dst = append(dst, `,"object":`...)
		dst = appendKey(dst, r.Object)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func (e *MailboxEvent) append(dst []byte) []byte {
	dst = appendUniqueID(dst, e.UniqueID)
	dst = append(dst, `,"name":`...)
	dst = dlist.AppendJSONString(dst, e.Name)
	dst = append(dst, `,"fields":`...)
	return dlist.AppendJSONPairs(dst, e.Fields)
}

func appendUniqueID(dst []byte, uniqueid string) []byte {
	return dlist.AppendJSONString(append(dst, `,"uniqueid":`...), uniqueid)
}

// appendKey appends a hash or the key of an object as encoding/json does.
func appendKey(dst []byte, key string) []byte {
	if !isPlain(key) || strings.ContainsAny(key, "<>&") {
		if b, err := json.Marshal(key); err == nil {
			return append(dst, b...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"')
}
