package history

import (
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// line is one kind of line that a backup has many of.
type line struct {
	name  string
	items int // that the line describes
	text  []byte
	parse func([]byte) error
	write func([]byte) ([]byte, error)
}

func parseEvent(b []byte) error {
	_, err := ParseEvent(b)
	return err
}

func eventLine(t failer, name string, items int, e Event) line {
	text, err := AppendEvent(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	return line{name, items, text, parseEvent, func(dst []byte) ([]byte, error) { return AppendEvent(dst, e) }}
}

// usualRecord has what a record of Cyrus 3.8 has.
func usualRecord(uid uint32) *cyrus.Record {
	id, date := "a7f0c2d1e9b84455", "1700000000"
	r := record(uid, big(uid).GUID, `\Seen`, "$Label1")
	r.Annotations = []cyrus.Annotation{
		{Entry: "/vendor/cmu/cyrus-imapd/thrid", Value: &id},
		{Entry: "/vendor/cmu/cyrus-imapd/savedate", Value: &date},
	}
	return r
}

// usualMailbox has the fields that Cyrus 3.8 sends.
func usualMailbox(n int) *MailboxEvent {
	f := []string{"UNIQUEID", fmt.Sprintf("large%08d", n), "MBOXNAME", "user.anne", "SYNC_CRC", "3735928559", "SYNC_CRC_ANNOT", "12345678",
		"LAST_UID", "1000000", "HIGHESTMODSEQ", "2000000", "RECENTUID", "1000000", "RECENTTIME", "1700000000", "LAST_APPENDDATE", "1700000000",
		"POP3_LAST_LOGIN", "0", "UIDVALIDITY", "1700000000", "PARTITION", "default", "ACL", "anne\tlrswipkxtecdan\t", "OPTIONS", "P",
		"MBOXTYPE", "e", "XCONVMODSEQ", "2000000", "CREATEDMODSEQ", "2", "FOLDERMODSEQ", "20", "RACLMODSEQ", "1"}
	return mailbox(f[1], "user.anne", f...)
}

// lineKinds returns the lines that reading and writing a large backup depends on.
func lineKinds(t failer) []line {
	records, messages, blocks := &RecordsEvent{UniqueID: "large"}, &MessagesEvent{}, &RecordBlocksEvent{UniqueID: "large"}
	for i := range uint32(MaxRecordsPerEvent) {
		records.Records = append(records.Records, usualRecord(i+1))
		messages.Messages = append(messages.Messages, big(i))
		sum := fmt.Sprintf("%064x", i)
		blocks.Blocks = append(blocks.Blocks, BlockRef{Block: i, Count: RecordsPerBlock, SHA256: sum, Object: RecordsKey(anne, [32]byte{byte(i)})})
	}
	head := usualMailbox(1)
	box := MailboxState{Seq: 1, UniqueID: head.UniqueID, Name: head.Name, Fields: head.Fields, Commit: 7, Records: 9, Live: 8, TopUID: 10, CRC: cyrus.NewCRC()}
	state := RecordState{Record: *usualRecord(7), Commit: 3}
	m := MessageState{Message: big(7), Commit: 3}
	p := Place{Chunk: big(7).Chunks[0], Object: PackKey([32]byte{7}), Entry: big(7).GUID.String() + ".eml"}
	h := Header{Version: 1, Backup: anne, Number: 7, Prev: fmt.Sprintf("%064x", 7), Time: noon, Host: "backup.example.org", Clock: noon,
		Connection: "4711", Client: "mail.example.org [192.0.2.1] repl", Random: NewRandom()}
	out := []line{
		eventLine(t, "records", MaxRecordsPerEvent, records),
		eventLine(t, "messages", MaxMessagesPerEvent, messages),
		eventLine(t, "recordblocks", len(blocks.Blocks), blocks),
		eventLine(t, "mailbox", 1, head),
		{"record", 1, nil, func(b []byte) error { return new(RecordState).UnmarshalJSON(b) }, func(dst []byte) ([]byte, error) { return state.append(dst), nil }},
		{"message", 1, nil, func(b []byte) error { return new(MessageState).UnmarshalJSON(b) },
			func(dst []byte) ([]byte, error) { return m.append(dst), nil }},
		{"place", 1, nil, func(b []byte) error { _, err := new(placeParser).parse(b[:len(b)-1]); return err },
			func(dst []byte) ([]byte, error) { return p.append(dst), nil }},
		{"header", 1, nil, func(b []byte) error { _, err := parseHeader(b); return err }, h.append},
		{"mailbox-state", 1, nil, func(b []byte) error { return new(MailboxState).UnmarshalJSON(b) },
			func(dst []byte) ([]byte, error) {
				b, err := box.MarshalJSON()
				return append(dst, b...), err
			}},
	}
	for i := range out {
		if out[i].text == nil {
			var err error
			if out[i].text, err = out[i].write(nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func BenchmarkParse(b *testing.B) {
	for _, l := range lineKinds(b) {
		b.Run(l.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := l.parse(l.text); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*l.items), "ns/item")
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, l := range lineKinds(b) {
		b.Run(l.name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = l.write(buf[:0]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*l.items), "ns/item")
		})
	}
}
