//go:build unix

package replay

import (
	"syscall"
	"time"
)

// cpu is the CPU time that this process has used, in user mode and in the
// system.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
