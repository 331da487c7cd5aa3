package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// clients are the metrics of connections.
type clients struct {
	open        *family
	connections func() int

	begun, logins, commands *prometheus.CounterVec
	received, sent          prometheus.Counter
	vector                  []prometheus.Collector
}

func newClients(c *catalogue, opt Options) *clients {
	c.begin("Clients")
	x := &clients{
		connections: opt.Connections,
		open:        c.gauge("connections", "Clients that are connected."),
		begun:       c.counterVec("connections_total", "Connections that clients have begun."),
		logins: c.counterVec("logins_total",
			"Logins by their mechanism and result: ok, not_admin (the password was right, and everything is denied), refused, unavailable (the password could not be checked), cancelled.",
			"mechanism", "result"),
		commands: c.counterVec("commands_total",
			"Commands by their name and result: ok, a refusal that the client knows (locked, nonexistent, moved, changed, bad_parameters, protocol_error), no, bad, closed (the connection, instead of an answer), lost (the connection failed). docs/errors.md explains locked.",
			"command", "result"),
	}
	received := c.counterVec("received_bytes_total", "Bytes that clients have sent: compressed if the connection is, without the overhead of TLS.")
	sent := c.counterVec("sent_bytes_total", "Bytes that were sent to clients, counted as received_bytes_total.")
	x.received, x.sent = received.WithLabelValues(), sent.WithLabelValues()
	x.begun.WithLabelValues()
	for _, mechanism := range append(sasl.Mechanisms(), replication.Other) { // a rate needs the value 0 before the first event
		for _, result := range []string{replication.LoginOK, replication.LoginNotAdmin, replication.LoginRefused, replication.LoginUnavailable} {
			x.logins.WithLabelValues(mechanism, result)
		}
	}
	x.vector = []prometheus.Collector{x.begun, x.logins, x.commands, received, sent}
	return x
}

func (x *clients) vectors() []prometheus.Collector { return x.vector }

func (x *clients) collect(ch chan<- prometheus.Metric) { x.open.value(ch, float64(x.connections())) }

// Connected counts the beginning of a connection.
func (m *Metrics) Connected() { m.clients.begun.WithLabelValues().Inc() }

// Events returns the functions that count logins, commands and bytes.
func (m *Metrics) Events() replication.Events {
	x := m.clients
	return replication.Events{
		Login:   func(mechanism, result string) { x.logins.WithLabelValues(mechanism, result).Inc() },
		Command: func(name, result string) { x.commands.WithLabelValues(name, result).Inc() },
		Read:    func(n int) { x.received.Add(float64(n)) },
		Written: func(n int) { x.sent.Add(float64(n)) },
	}
}
