package cyrus

import (
	"testing"

	"pgregory.net/rapid"
)

// The message and the values of the reference test vectors, computed with zlib from the
// rule in imap/mailbox.c.
func vectorRecords(t *testing.T) (one, two *Record) {
	g, err := ParseGUID("67f117aa6c06fb91b94f331d2e7ec5a686ae2227")
	if err != nil {
		t.Fatal(err)
	}
	thrid, modseq, hello := "0abc123456789def", "4", "hello"
	one = &Record{UID: 1, ModSeq: 4, LastUpdated: 1700000000, InternalDate: 1699999990, GUID: g, Annotations: []Annotation{
		{Entry: "/vendor/cmu/cyrus-imapd/thrid", Value: &thrid},
		{Entry: "/vendor/cmu/cyrus-imapd/createdmodseq", Value: &modseq},
	}}
	two = &Record{UID: 2, ModSeq: 7, LastUpdated: 1700000100, InternalDate: 1700000050, GUID: g, Flags: []string{`\Seen`, "$Label1"}, Annotations: []Annotation{
		{Entry: "/comment", UserID: "anne@example.com", ModSeq: 7, Value: &hello},
	}}
	return one, two
}

func TestCRCVectors(t *testing.T) {
	one, two := vectorRecords(t)
	both := NewCRC()
	both.Add(one)
	both.Add(two)
	thridOld, thridNew := one.Annotations[0].crc(nil, 1)
	created, _ := one.Annotations[1].crc(nil, 1)
	comment, _ := two.Annotations[0].crc(nil, 2)
	for _, c := range []struct {
		what      string
		got, want uint32
	}{
		{`\seen`, flagCRC(nil, []string{`\SEEN`}), 3201761491},
		{"$label1", flagCRC(nil, []string{"$Label1"}), 979321343},
		{"flags", flagCRC(nil, []string{`\Seen`, `\Expunged`, "$Label1"}), 2223522092},
		{"record 1", one.basicCRC(nil), 1933141338},
		{"record 2", two.basicCRC(nil), 80345612},
		{"basic", both.Basic, 2012258134},
		{"thrid", thridOld, 1121645622},
		{"thrid padded", thridNew, 2387562494},
		{"createdmodseq", created, 4239268840},
		{"comment", comment, 1079673386},
		{"annot", both.Annot, 4270984378},
		{"annot padded", both.AnnotPadded, 839366514},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
}

func TestCRCEqual(t *testing.T) {
	one, two := vectorRecords(t)
	c := NewCRC()
	if !c.Equal(0, 12345678) || !c.Equal(0, 0) || c.Equal(0, 1) {
		t.Error("empty mailbox")
	}
	c.Add(one)
	c.Add(two)
	for _, e := range []struct {
		basic, annot uint32
		want         bool
	}{
		{2012258134, 4270984378, true}, {2012258134, 839366514, true}, {0, 839366514, true}, {2012258134, 0, true},
		{1, 839366514, false}, {2012258134, 1, false}, {0, 0, true},
	} {
		if got := c.Equal(e.basic, e.annot); got != e.want {
			t.Errorf("Equal(%d, %d) = %v", e.basic, e.annot, got)
		}
	}
	two.Flags = append(two.Flags, `\expunged`)
	if d := NewCRC(); func() bool { d.Add(two); return d != NewCRC() }() {
		t.Error("an expunged record counts")
	}
}

func TestCRCIsIncremental(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rs := rapid.SliceOfN(anyRecord(), 1, 8).Draw(t, "records")
		c := NewCRC()
		for _, r := range rs {
			c.Add(r)
		}
		last := rs[len(rs)-1]
		c.Remove(last)
		d := NewCRC()
		for i := len(rs) - 2; i >= 0; i-- {
			d.Add(rs[i])
		}
		if c != d {
			t.Fatalf("%+v after Remove, %+v without", c, d)
		}
	})
}
