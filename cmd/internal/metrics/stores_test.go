package metrics_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cyrusbackup/backupd/cmd/internal/metrics"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
	"github.com/cyrusbackup/backupd/objstore/observe"
)

func TestMetrics(t *testing.T) {
	m := metrics.NewStores("backupd")
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m)
	objstoretest.Use(t, observe.New(memstore.New(nil), m.Hooks("p1")))
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
