package delivery

import "sync"

// Status is how a worker does. Safe for concurrent use.
type Status struct {
	mu      sync.Mutex
	claims  int
	stalls  int
	problem error
}

// Claims is how many partitions of topics this worker has.
func (s *Status) Claims() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims
}

// Stalled is what holds rows back at present; nil where nothing does.
func (s *Status) Stalled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stalls == 0 {
		return nil
	}
	return s.problem
}

// Fail says that a sink has ended with an error, and holds rows back.
func (s *Status) Fail(why error) { s.stalled(1, why) }

func (s *Status) claimed(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims += n
}

func (s *Status) stalled(n int, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalls += n
	if why != nil {
		s.problem = why
	}
}
