package replay

import "container/heap"

// schedule says which event is sent next, and when. It is a function of the
// plan: the broker's pace does not change the order.
type schedule struct {
	*plan
	waiting sendings
	copies  int64 // that were begun
	sealed  bool  // no more copies are begun
}

// sending is one event that is to be sent. Times are µs of the run.
type sending struct {
	at    int64
	copy  *copyOf
	index int // of the event in its pattern
	kind  sendingKind
}

type sendingKind uint8

const (
	onTime    sendingKind = iota // in its turn; the next event of the copy follows it
	late                         // held back
	duplicate                    // sent for the second time
)

// next is the next event to send; false after the last.
func (s *schedule) next() (sending, bool) {
	for {
		if s.more() {
			if begin := s.beginOf(s.copies); len(s.waiting) == 0 || begin <= s.waiting[0].at {
				c := s.copyOf(s.copies)
				heap.Push(&s.waiting, sending{at: begin + c.templates[0].at, copy: c})
				s.copies++
				continue
			}
		}
		if len(s.waiting) == 0 {
			return sending{}, false
		}
		now := s.waiting[0]
		if now.kind != onTime {
			heap.Pop(&s.waiting)
			return now, true
		}
		s.advance()
		lots := mix(uint64(nameOf(s.seed, now.copy.number)) + uint64(now.index) + 1)
		held := now
		if s.late.drawn(lots) {
			held.at, held.kind = now.at+s.lateBy, late
			heap.Push(&s.waiting, held)
		}
		if lots = mix(lots); s.duplicates.drawn(lots) {
			again := held
			again.kind = duplicate
			if lots = mix(lots); lots&1 == 0 { // else at once
				again.at += int64(lots >> 1 % uint64(s.lateBy+1))
			}
			heap.Push(&s.waiting, again)
		}
		if held.kind == onTime {
			return now, true
		}
	}
}

// more tells that another copy is to be begun.
func (s *schedule) more() bool { return !s.sealed && (s.most == 0 || s.copies < s.most) }

// advance moves the copy whose turn it is to its next event.
func (s *schedule) advance() {
	turn := &s.waiting[0]
	if turn.index++; turn.index == len(turn.copy.templates) {
		heap.Pop(&s.waiting)
		return
	}
	turn.at = turn.copy.at + turn.copy.templates[turn.index].at
	heap.Fix(&s.waiting, 0)
}

// over tells that its session is over with this event: everything else of it
// was sent, but for what is held back longer.
func (s sending) over() bool {
	t := &s.copy.templates[s.index]
	return t.isLast || s.kind != onTime && s.at >= s.copy.at+s.copy.sessions[t.session].last
}

// sendings is a heap in the order of sending.
type sendings []sending

func (w sendings) Len() int      { return len(w) }
func (w sendings) Swap(i, j int) { w[i], w[j] = w[j], w[i] }
func (w sendings) Less(i, j int) bool {
	a, b := &w[i], &w[j]
	switch {
	case a.at != b.at:
		return a.at < b.at
	case a.copy != b.copy:
		return a.copy.number < b.copy.number
	case a.index != b.index:
		return a.index < b.index
	}
	return a.kind < b.kind
}
func (w *sendings) Push(x any) { *w = append(*w, x.(sending)) }
func (w *sendings) Pop() any {
	end := len(*w) - 1
	last := (*w)[end]
	(*w)[end] = sending{} // lets go of the copy
	*w = (*w)[:end]
	return last
}

// share is a part of all events, in units of 2^-32.
type share uint64

func shareOf(part float64) share { return share(part * (1 << 32)) }

// drawn draws with a random number.
func (s share) drawn(lots uint64) bool { return lots>>32 < uint64(s) }
