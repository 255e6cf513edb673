package delivery

import (
	"strconv"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the sinks of one process.
type Metrics struct {
	rowsRead, rowsStored *prometheus.CounterVec
	deadLetters          *prometheus.CounterVec
	attempts             *prometheus.CounterVec
	rowsSent             *prometheus.CounterVec
	duration             *prometheus.HistogramVec
	halvings             prometheus.Counter
	lag                  *prometheus.GaugeVec
	stoppedLogs          *prometheus.GaugeVec
}

// NewMetrics makes them known to a registry; with nil they are counted for
// nobody.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flightlog_sink_" + name, Help: help}, labels)
	}
	m := &Metrics{
		rowsRead:    counter("rows_read_total", "Rows read from the topic.", "topic"),
		rowsSent:    counter("rows_sent_total", "Rows sent, each time that they were.", "topic"),
		rowsStored:  counter("rows_stored_total", "Rows that the store holds.", "topic"),
		deadLetters: counter("dead_letters_total", "Rows that cannot be stored.", "topic", "reason"),
		attempts:    counter("attempts_total", "Attempts to store a batch, by what came of it.", "topic", "class"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "flightlog_sink_attempt_seconds",
			Help: "How long an attempt took.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}, []string{"topic"}),
		halvings: prometheus.NewCounter(prometheus.CounterOpts{Name: "flightlog_sink_halvings_total",
			Help: "Batches cut in two to find a row that the store does not bear."}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "flightlog_sink_lag_seconds",
			Help: "Age of the oldest row that was read and is not stored."}, []string{"topic", "partition", "lane"}),
		stoppedLogs: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "flightlog_sink_stopped",
			Help: "1 while a lane of a partition cannot go on."}, []string{"topic", "partition", "lane"}),
	}
	if registry != nil {
		registry.MustRegister(m.rowsRead, m.rowsSent, m.rowsStored, m.deadLetters, m.attempts, m.duration, m.halvings, m.lag, m.stoppedLogs)
	}
	return m
}

func (m *Metrics) read(log broker.Log, rows int) {
	m.rowsRead.WithLabelValues(log.Topic).Add(float64(rows))
}

func (m *Metrics) sent(b *Batch, rows int, class Class, took time.Duration) {
	m.rowsSent.WithLabelValues(b.Topic).Add(float64(rows))
	m.attempts.WithLabelValues(b.Topic, class.String()).Inc()
	m.duration.WithLabelValues(b.Topic).Observe(took.Seconds())
}

func (m *Metrics) stored(b *Batch, rows int) {
	m.rowsStored.WithLabelValues(b.Topic).Add(float64(rows))
}

func (m *Metrics) dead(topic string, rows int, reason string) {
	m.deadLetters.WithLabelValues(topic, reason).Add(float64(rows))
}

// left takes a log that is not loaded any more out.
func (m *Metrics) left(log broker.Log) {
	m.lag.DeleteLabelValues(log.Topic, strconv.Itoa(log.Partition), log.Lane.String())
}

func (m *Metrics) lagging(log broker.Log, lag time.Duration) {
	m.lag.WithLabelValues(log.Topic, strconv.Itoa(log.Partition), log.Lane.String()).Set(lag.Seconds())
}

func (m *Metrics) stopped(log broker.Log, stopped bool) {
	gauge := m.stoppedLogs.WithLabelValues(log.Topic, strconv.Itoa(log.Partition), log.Lane.String())
	if gauge.Set(0); stopped {
		gauge.Set(1)
	}
}
