package main

import (
	"log/slog"
	"testing"

	"backupd/internal/imapconf"
)

// Every option is asked for by a type that it has: a mistake would end connections.
func TestEveryOptionIsReadByItsType(t *testing.T) {
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: "+t.TempDir()+"\nbackuppartition-default: "+t.TempDir()+"/store\n", "backupd")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newService(environment{name: "backupd", conf: conf, log: slog.New(slog.DiscardHandler), observe: func(session) {}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.(*backups).server("backupd", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
