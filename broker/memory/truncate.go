package memory

import "github.com/flightlog/flightlog/broker"

// Truncate drops the messages of a log but for the first n that it holds, as a
// broker does that loses what it had not written to the disk.
func (b *Broker) Truncate(of broker.Log, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.log(of)
	log.messages, log.sources = log.messages[:min(n, len(log.messages))], log.sources[:min(n, len(log.sources))]
}
