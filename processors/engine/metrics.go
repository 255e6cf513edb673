package engine

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flightlog/flightlog/schemas"
)

// Metrics of the partitions that a process works on. Every one bears the
// processor and the partition.
type Metrics struct {
	records  *prometheus.CounterVec // by outcome
	commits  *prometheus.CounterVec
	commit   *prometheus.HistogramVec // seconds
	rows     *prometheus.CounterVec   // by topic
	lags     *lags
	state    *prometheus.GaugeVec     // records
	bytes    *prometheus.GaugeVec     // bytes of state
	restore  *prometheus.HistogramVec // seconds
	fenced   *prometheus.CounterVec
	retries  *prometheus.CounterVec
	rewinds  *prometheus.CounterVec
	held     *prometheus.GaugeVec
	versions *prometheus.GaugeVec // by kind
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	labels := func(more ...string) []string { return append([]string{"processor", "partition"}, more...) }
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flightlog_engine_" + name, Help: help}, labels(more...))
		r.MustRegister(v)
		return v
	}
	gauge := func(name, help string, more ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "flightlog_engine_" + name, Help: help}, labels(more...))
		r.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "flightlog_engine_" + name, Help: help, Buckets: buckets}, labels())
		r.MustRegister(v)
		return v
	}
	return &Metrics{
		records:  counter("records_total", "Records folded, by what became of them.", "outcome"),
		commits:  counter("commits_total", "Commits."),
		commit:   histogram("commit_seconds", "How long a commit took to be stored.", prometheus.ExponentialBuckets(0.0005, 2, 14)),
		rows:     counter("rows_total", "Rows said, by topic.", "topic"),
		lags:     newLags(r),
		state:    gauge("state_records", "Records of state."),
		bytes:    gauge("state_bytes", "Bytes of state, keys and values."),
		restore:  histogram("restore_seconds", "How long a restore took.", prometheus.ExponentialBuckets(0.005, 2, 14)),
		fenced:   counter("fenced_total", "Ownerships lost to another worker, given up in doubt, or stopped because of a loss, by reason.", "reason"),
		retries:  counter("retries_total", "Commits that had to be tried again."),
		rewinds:  counter("rewinds_total", "Times that the input was found to have lost its end. Must stay 0."),
		held:     gauge("held", "1 while this worker holds the partition."),
		versions: gauge("config_version", "Version in force, by kind (fold, rules, prices, directory).", "kind"),
	}
}

func (p *partition) names(more ...string) []string {
	return append([]string{p.cfg.Processor.Name(), strconv.Itoa(p.number)}, more...)
}

func (m *Metrics) committed(p *partition, c *schemas.Commit, took time.Duration) {
	if m == nil {
		return
	}
	m.commits.WithLabelValues(p.names()...).Inc()
	m.commit.WithLabelValues(p.names()...).Observe(took.Seconds())
	for _, o := range [...]struct {
		outcome string
		n       int64
	}{{"applied", c.Counts.Applied}, {"duplicate", c.Counts.Duplicate}, {"dead", c.Counts.Dead}, {"passed", c.Counts.Passed}} {
		m.records.WithLabelValues(p.names(o.outcome)...).Add(float64(o.n))
	}
	for i := range c.Outputs {
		m.rows.WithLabelValues(p.names(c.Outputs[i].Topic)...).Add(float64(len(c.Outputs[i].Rows)))
	}
	for _, v := range [...]struct {
		kind    string
		version int64
	}{{"fold", c.Versions.Fold}, {"rules", c.Versions.Rules}, {"prices", c.Versions.Prices}, {"directory", c.Versions.Directory}} {
		m.versions.WithLabelValues(p.names(v.kind)...).Set(float64(v.version))
	}
	m.state.WithLabelValues(p.names()...).Set(float64(len(p.state.records)))
	m.bytes.WithLabelValues(p.names()...).Set(float64(p.state.bytes))
}

func (m *Metrics) restored(p *partition, took time.Duration) {
	if m == nil {
		return
	}
	m.restore.WithLabelValues(p.names()...).Observe(took.Seconds())
	m.held.WithLabelValues(p.names()...).Set(1)
	for _, reason := range [...]string{"fenced", "unknown", "retry", "stopped"} { // 0, not missing
		m.fenced.WithLabelValues(p.names(reason)...).Add(0)
	}
	m.retries.WithLabelValues(p.names()...).Add(0)
	m.rewinds.WithLabelValues(p.names()...).Add(0)
	m.lags.hold(p)
}

// released forgets the gauges of a partition that another worker holds now.
func (m *Metrics) released(p *partition) {
	if m == nil {
		return
	}
	m.held.WithLabelValues(p.names()...).Set(0)
	m.lags.release(p)
	gone := prometheus.Labels{"processor": p.cfg.Processor.Name(), "partition": strconv.Itoa(p.number)}
	for _, g := range [...]*prometheus.GaugeVec{m.state, m.bytes, m.versions} {
		g.DeletePartialMatch(gone)
	}
}

func (m *Metrics) lost(processor string, partition int, reason string) {
	if m != nil {
		m.fenced.WithLabelValues(processor, strconv.Itoa(partition), reason).Inc()
	}
}

func (m *Metrics) retried(p *partition) {
	if m != nil {
		m.retries.WithLabelValues(p.names()...).Inc()
	}
}

func (m *Metrics) rewound(p *partition) {
	if m != nil {
		m.rewinds.WithLabelValues(p.names()...).Inc()
	}
}
