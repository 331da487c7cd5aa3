package dlist

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// BenchmarkMessage decodes APPLY MESSAGE with 1024 files of 4 KiB.
func BenchmarkMessage(b *testing.B) {
	var buf bytes.Buffer
	body := strings.Repeat("x", 4096)
	buf.WriteString("MESSAGE (")
	for i := range 1024 {
		fmt.Fprintf(&buf, "%%{default %040x 4096}\r\n%s ", i, body)
	}
	buf.WriteString(")\r\n")
	src := bytes.NewReader(buf.Bytes())
	br := bufio.NewReaderSize(src, 64<<10)
	d := NewDecoder(br, Limits{})
	b.SetBytes(int64(buf.Len()))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(buf.Bytes())
		br.Reset(src)
		d.Begin()
		if _, err := d.Key(); err != nil {
			b.Fatal(err)
		}
		err := d.List(func() error {
			_, r, err := d.File()
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r)
			return err
		})
		if err != nil || d.End() != nil {
			b.Fatal(err)
		}
	}
}

func recordList(n int) []byte {
	var buf bytes.Buffer
	buf.WriteString("MAILBOX %(RECORD (")
	for i := range n {
		if i > 0 {
			buf.WriteByte(' ')
		}
		fmt.Fprintf(&buf, `%%(UID %d MODSEQ %d LAST_UPDATED 1700000000 FLAGS (\Seen $Label1) INTERNALDATE 1699999990 SIZE 4711 GUID %040x`+
			` ANNOTATIONS (%%(ENTRY /vendor/cmu/cyrus-imapd/savedate USERID "" MODSEQ 0 VALUE 1795452142)))`, i+1, i+2, i)
	}
	buf.WriteString("))\r\n")
	return buf.Bytes()
}

// BenchmarkRecords reads 20,000 records without keeping them.
func BenchmarkRecords(b *testing.B) {
	in := recordList(20000)
	src := bytes.NewReader(in)
	br := bufio.NewReaderSize(src, 64<<10)
	d := NewDecoder(br, Limits{})
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	record := func(key string) error {
		switch key {
		case "UID", "SIZE":
			_, err := d.Num32()
			return err
		case "MODSEQ", "LAST_UPDATED", "INTERNALDATE":
			_, err := d.Num64()
			return err
		case "GUID":
			_, err := d.GUID()
			return err
		case "FLAGS":
			return d.List(func() error { _, _, err := d.Name(); return err })
		}
		return d.Skip()
	}
	for b.Loop() {
		src.Reset(in)
		br.Reset(src)
		d.Begin()
		if _, err := d.Key(); err != nil {
			b.Fatal(err)
		}
		err := d.KVList(func(string) error { return d.List(func() error { return d.KVList(record) }) })
		if err != nil || d.End() != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	v := decodeWhole(nil, recordList(1000))
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = Append(buf[:0], v, true)
	}
	b.SetBytes(int64(len(buf)))
}
