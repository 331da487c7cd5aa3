package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Prefix begins the name of each metric of this package.
const Prefix = "cyrus_backupd_"

// Definition describes a metric.
type Definition struct {
	Group  string // heading in docs/metrics.md
	Name   string
	Type   string // counter, gauge or histogram
	Labels []string
	Help   string
}

// catalogue collects the definitions of the metrics while they are made.
type catalogue struct {
	group string
	all   []Definition
	descs []*prometheus.Desc
}

// begin sets the group of the following metrics.
func (c *catalogue) begin(group string) { c.group = group }

func (c *catalogue) define(kind, name, help string, labels []string) string {
	name = Prefix + name
	c.all = append(c.all, Definition{Group: c.group, Name: name, Type: kind, Labels: labels, Help: help})
	return name
}

// gauge and the following functions define a metric.
func (c *catalogue) gauge(name, help string, labels ...string) *family {
	return c.family("gauge", prometheus.GaugeValue, name, help, labels)
}

func (c *catalogue) counter(name, help string, labels ...string) *family {
	return c.family("counter", prometheus.CounterValue, name, help, labels)
}

func (c *catalogue) histogram(name, help string, labels ...string) *family {
	return c.family("histogram", prometheus.UntypedValue, name, help, labels)
}

func (c *catalogue) family(kind string, v prometheus.ValueType, name, help string, labels []string) *family {
	f := &family{kind: v, desc: prometheus.NewDesc(c.define(kind, name, help, labels), help, labels, nil)}
	c.descs = append(c.descs, f.desc)
	return f
}

func (c *catalogue) counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: c.define("counter", name, help, labels), Help: help}, labels)
}

func (c *catalogue) gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: c.define("gauge", name, help, labels), Help: help}, labels)
}

func (c *catalogue) histogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: c.define("histogram", name, help, labels), Help: help, Buckets: buckets}, labels)
}

// family is a metric whose values are computed when it is read.
type family struct {
	kind prometheus.ValueType
	desc *prometheus.Desc
}

// value sends a value. An invalid label is reported to the reader.
func (f *family) value(ch chan<- prometheus.Metric, v float64, labels ...string) {
	m, err := prometheus.NewConstMetric(f.desc, f.kind, v, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(f.desc, err)
	}
	ch <- m
}

// distribution sends a histogram. upTo are the counts up to each bound, not of each class.
func (f *family) distribution(ch chan<- prometheus.Metric, n uint64, sum float64, upTo map[float64]uint64, labels ...string) {
	m, err := prometheus.NewConstHistogram(f.desc, n, sum, upTo, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(f.desc, err)
	}
	ch <- m
}

// number is the value of something that is true or false.
func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
