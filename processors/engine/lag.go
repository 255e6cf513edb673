package engine

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// waiting is what a lane holds that is not committed yet. The partition's
// goroutine sets it; anyone reads it.
type waiting struct {
	messages atomic.Int64 // read and queued, and known to stand behind them
	oldest   atomic.Int64 // append time of the first one queued, µs; 0 = none
}

// note brings it up to date.
func (l *lane) note() {
	l.uncommitted.messages.Store(int64(len(l.queue)) + l.lag)
	oldest := int64(0)
	if len(l.queue) > 0 {
		oldest = l.queue[0].appendedAt
	}
	l.uncommitted.oldest.Store(oldest)
}

// lags tells the lag of the lanes that are held, as of the scrape: it grows
// also while a commit hangs.
type lags struct {
	messages, seconds *prometheus.Desc

	mu   sync.Mutex
	held map[*partition]bool
}

func newLags(r prometheus.Registerer) *lags {
	labels := []string{"processor", "partition", "lane"}
	l := &lags{
		messages: prometheus.NewDesc("flightlog_engine_lag_messages", "Messages of the input (frames of events, or control records) that are known and not committed.", labels, nil),
		seconds:  prometheus.NewDesc("flightlog_engine_lag_seconds", "Age of the oldest message that is read and not committed; 0 = none.", labels, nil),
		held:     map[*partition]bool{},
	}
	r.MustRegister(l)
	return l
}

func (l *lags) hold(p *partition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[p] = true
}

func (l *lags) release(p *partition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, p)
}

// Describe implements prometheus.Collector.
func (l *lags) Describe(to chan<- *prometheus.Desc) {
	to <- l.messages
	to <- l.seconds
}

// Collect implements prometheus.Collector.
func (l *lags) Collect(to chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.held {
		for _, lane := range p.lanes {
			names := []string{p.cfg.Processor.Name(), strconv.Itoa(p.number), lane.log.Lane.String()}
			seconds := 0.0
			if oldest := lane.uncommitted.oldest.Load(); oldest != 0 {
				seconds = max(0, time.Since(time.UnixMicro(oldest)).Seconds())
			}
			to <- prometheus.MustNewConstMetric(l.messages, prometheus.GaugeValue, float64(lane.uncommitted.messages.Load()), names...)
			to <- prometheus.MustNewConstMetric(l.seconds, prometheus.GaugeValue, seconds, names...)
		}
	}
}
