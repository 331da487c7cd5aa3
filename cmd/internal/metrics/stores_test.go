package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
	"github.com/cyrusbackup/backupd/objstore/observe"
)

func newMetrics(t *testing.T) *Metrics {
	t.Helper()
	m, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStores(t *testing.T) {
	m := newMetrics(t)
	objstoretest.Use(t, observe.New(memstore.New(nil), m.Stores.Hooks("p1")))
	m.Stores.Hooks("p1").End(observe.Event{Op: "get", Outcome: "denied", Err: &objstore.Error{Status: 403, Err: objstore.ErrDenied}})
	m.Stores.Retried("p1")
	const want = `
# HELP cyrus_backupd_store_bytes_total Bytes of objects put (tried ones too) and read.
# TYPE cyrus_backupd_store_bytes_total counter
cyrus_backupd_store_bytes_total{op="delete",partition="p1"} 0
cyrus_backupd_store_bytes_total{op="get",partition="p1"} 3
cyrus_backupd_store_bytes_total{op="list",partition="p1"} 0
cyrus_backupd_store_bytes_total{op="put",partition="p1"} 12
cyrus_backupd_store_bytes_total{op="stat",partition="p1"} 0
# HELP cyrus_backupd_store_requests_total Requests to the store by operation and outcome. code is the HTTP status of an answer that was an error, ok, or none without an HTTP answer.
# TYPE cyrus_backupd_store_requests_total counter
cyrus_backupd_store_requests_total{code="403",op="get",outcome="denied",partition="p1"} 1
cyrus_backupd_store_requests_total{code="none",op="put",outcome="exist",partition="p1"} 1
cyrus_backupd_store_requests_total{code="none",op="stat",outcome="not_exist",partition="p1"} 1
cyrus_backupd_store_requests_total{code="ok",op="delete",outcome="ok",partition="p1"} 1
cyrus_backupd_store_requests_total{code="ok",op="get",outcome="ok",partition="p1"} 1
cyrus_backupd_store_requests_total{code="ok",op="list",outcome="ok",partition="p1"} 1
cyrus_backupd_store_requests_total{code="ok",op="put",outcome="ok",partition="p1"} 2
# HELP cyrus_backupd_store_retries_total Requests that were repeated after a temporary failure.
# TYPE cyrus_backupd_store_retries_total counter
cyrus_backupd_store_retries_total{partition="p1"} 1
`
	if err := testutil.GatherAndCompare(m.own, strings.NewReader(want), "cyrus_backupd_store_bytes_total",
		"cyrus_backupd_store_requests_total", "cyrus_backupd_store_retries_total"); err != nil {
		t.Error(err)
	}
}
