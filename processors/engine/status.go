package engine

import "sync"

// Status is what a worker works on at present. The zero value is that of one
// that has not begun. Safe for concurrent use.
type Status struct {
	mu       sync.Mutex
	running  bool
	restored map[int]bool // by partition held
}

// Ready tells that the worker runs and has restored every partition that it
// holds.
func (s *Status) Ready() bool {
	held, ready := s.Partitions()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running && held == ready
}

// Partitions are how many it holds, and how many of these are restored.
func (s *Status) Partitions() (held, restored int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ready := range s.restored {
		if ready {
			restored++
		}
	}
	return len(s.restored), restored
}

func (s *Status) run(running bool) {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running = running
	}
}

// hold notes that a partition is held; drop that it is not any more.
func (s *Status) hold(partition int, restored bool) {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.restored == nil {
			s.restored = map[int]bool{}
		}
		s.restored[partition] = restored
	}
}

func (s *Status) drop(partition int) {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.restored, partition)
	}
}
