package replay

import (
	"container/heap"
)

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
	copy  int64
	index int32 // of the event in its recording
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
		if !s.sealed && (s.most == 0 || s.copies < s.most) {
			if begin := s.beginOf(s.copies); len(s.waiting) == 0 || begin <= s.waiting[0].at {
				first := s.recordingOf(s.copies).events[0].at
				heap.Push(&s.waiting, sending{at: begin + first, copy: s.copies})
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
		chance := mix(uint64(nameOf(s.seed, now.copy)) + uint64(now.index) + 1)
		held := now
		if s.late.is(chance) {
			held.at, held.kind = now.at+s.lateBy, late
			heap.Push(&s.waiting, held)
		}
		if chance = mix(chance); s.duplicates.is(chance) {
			again := held
			again.kind = duplicate
			if chance = mix(chance); chance&1 == 0 { // else at once
				again.at += int64(chance >> 1 % uint64(s.lateBy+1))
			}
			heap.Push(&s.waiting, again)
		}
		if held.kind == onTime {
			return now, true
		}
	}
}

// advance moves the copy whose turn it is to its next event.
func (s *schedule) advance() {
	turn := &s.waiting[0]
	events := s.recordingOf(turn.copy).events
	if turn.index++; int(turn.index) == len(events) {
		heap.Pop(&s.waiting)
		return
	}
	turn.at = s.beginOf(turn.copy) + events[turn.index].at
	heap.Fix(&s.waiting, 0)
}

// ends tells that with this event all of its session has been sent that the
// schedule did not hold back, or that it comes after that.
func (s *schedule) ends(now sending) bool {
	r := s.recordingOf(now.copy)
	e := &r.events[now.index]
	return e.isLast || now.kind != onTime && now.at >= s.beginOf(now.copy)+e.last
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
		return a.copy < b.copy
	case a.index != b.index:
		return a.index < b.index
	}
	return a.kind < b.kind
}
func (w *sendings) Push(x any) { *w = append(*w, x.(sending)) }
func (w *sendings) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}

// share is a part of all events, in units of 2^-32.
type share uint64

func shareOf(part float64) share { return share(part * (1 << 32)) }

// is draws lots: chance is a random number.
func (s share) is(chance uint64) bool { return chance>>32 < uint64(s) }
