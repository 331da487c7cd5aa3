package storemetrics_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/objstore/storemetrics"
)

func TestMetrics(t *testing.T) {
	m := storemetrics.New("backupd")
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m)
	use(t, observe.New(memstore.New(nil), m.Hooks("p1")))
	const want = `
# HELP backupd_store_bytes_total Bytes of objects put (tried ones too) and read.
# TYPE backupd_store_bytes_total counter
backupd_store_bytes_total{op="delete",partition="p1"} 0
backupd_store_bytes_total{op="get",partition="p1"} 3
backupd_store_bytes_total{op="list",partition="p1"} 0
backupd_store_bytes_total{op="put",partition="p1"} 12
backupd_store_bytes_total{op="stat",partition="p1"} 0
# HELP backupd_store_requests_in_flight Operations begun and not ended; a get ends when its body is closed.
# TYPE backupd_store_requests_in_flight gauge
backupd_store_requests_in_flight{op="delete",partition="p1"} 0
backupd_store_requests_in_flight{op="get",partition="p1"} 0
backupd_store_requests_in_flight{op="list",partition="p1"} 0
backupd_store_requests_in_flight{op="put",partition="p1"} 0
backupd_store_requests_in_flight{op="stat",partition="p1"} 0
# HELP backupd_store_requests_total Requests to the store by their outcome.
# TYPE backupd_store_requests_total counter
backupd_store_requests_total{op="delete",outcome="ok",partition="p1"} 1
backupd_store_requests_total{op="get",outcome="ok",partition="p1"} 1
backupd_store_requests_total{op="list",outcome="ok",partition="p1"} 1
backupd_store_requests_total{op="put",outcome="exist",partition="p1"} 1
backupd_store_requests_total{op="put",outcome="ok",partition="p1"} 2
backupd_store_requests_total{op="stat",outcome="not_exist",partition="p1"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "backupd_store_bytes_total",
		"backupd_store_requests_in_flight", "backupd_store_requests_total"); err != nil {
		t.Error(err)
	}
}

// use makes some calls of each kind: 3 puts of 4 bytes (one refused), a get of 3 bytes, a
// stat of a missing object, a list of two keys, a delete.
func use(t *testing.T, s objstore.Store) {
	t.Helper()
	for _, put := range []struct {
		key  string
		want error
	}{{"a", nil}, {"b", nil}, {"a", objstore.ErrExist}} {
		_, err := s.Put(t.Context(), put.key, bytes.NewReader([]byte("body")), objstore.PutOptions{IfAbsent: true})
		if !errors.Is(err, put.want) {
			t.Fatalf("put: %v, want %v", err, put.want)
		}
	}
	obj, err := s.Get(t.Context(), "a", 1, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, obj); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := obj.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Stat(t.Context(), "none"); err == nil {
		t.Error("stat of nothing")
	}
	for _, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}
