// Package failpoint lets a test kill the process at a chosen place, to prove
// that nothing is lost or doubled by a crash there.
//
// It does nothing unless FLIGHTLOG_FAILPOINT is set when the process starts:
//
//	FLIGHTLOG_FAILPOINT=engine.folded:7       SIGKILL at the 7th hit of that place
//	FLIGHTLOG_FAILPOINT=engine.folded:7:stop  SIGSTOP there: a zombie, once it is told to go on
//	FLIGHTLOG_FAILPOINT=census:/tmp/counts  write "name hits" lines at exit (see [Census])
package failpoint

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var point struct {
	sync.Mutex
	name   string // place to die at
	after  int    // hits left
	signal syscall.Signal
	census string // file to write counts to
	counts map[string]int
}

var armed = arm(os.Getenv("FLIGHTLOG_FAILPOINT"))

func arm(spec string) bool {
	name, arg, ok := strings.Cut(spec, ":")
	if !ok {
		return false
	}
	if name == "census" {
		point.census, point.counts = arg, map[string]int{}
		return true
	}
	arg, stop := strings.CutSuffix(arg, ":stop")
	point.signal = syscall.SIGKILL
	if stop {
		point.signal = syscall.SIGSTOP
	}
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return false
	}
	point.name, point.after = name, n
	return true
}

// Hit marks a place. The names are listed in ARCHITECTURE.md beside the crash
// table.
func Hit(name string) {
	if !armed {
		return
	}
	point.Lock()
	defer point.Unlock()
	if point.counts != nil {
		point.counts[name]++
		return
	}
	if name != point.name {
		return
	}
	if point.after--; point.after == 0 {
		fmt.Fprintln(os.Stderr, "failpoint", name)
		_ = syscall.Kill(syscall.Getpid(), point.signal)
		if point.signal == syscall.SIGKILL {
			select {}
		}
	}
}

// Census writes how often each place was hit, if that was asked for.
func Census() error {
	point.Lock()
	defer point.Unlock()
	if point.counts == nil {
		return nil
	}
	names := make([]string, 0, len(point.counts))
	for name := range point.counts {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintln(&b, name, point.counts[name])
	}
	if err := os.WriteFile(point.census, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("cannot write the census of failpoints: %w", err)
	}
	return nil
}
