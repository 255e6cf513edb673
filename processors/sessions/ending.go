//go:build !quick

package sessions

// When a session ends and leaves, µs of append time (DESIGN §4, §5). The tag
// quick is for kill runs, which have no day.
const (
	// quiet is how long a session without arrivals counts as running.
	quiet = 30 * 60e6
	// goodbye is how long after the client has ended a session its last events
	// may still be on their way: the greatest bound of a witness.
	goodbye = 130e6
	// rest is how long after its end a session without further events stays in
	// the state.
	rest = 24 * 3600e6
)
