//go:build quick

package changes

// Kill runs cannot wait for days.
const closeAfter = 5e6
