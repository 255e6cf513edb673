package jetstream

import "time"

// SetIdle makes readers that are opened from now on look after a shorter
// silence whether there really is nothing.
func (b *Broker) SetIdle(d time.Duration) { b.idle = d }
