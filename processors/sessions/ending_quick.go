//go:build quick

package sessions

// As in ending.go, so short that sessions close and come back within a run of
// seconds.
const (
	quiet   = 2e6
	goodbye = 1e6
	rest    = 2e6
)
