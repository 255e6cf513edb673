//go:build !quick

package changes

// closeAfter is how long a record stays in the state without arrivals, µs.
const closeAfter = 8 * 86400e6
