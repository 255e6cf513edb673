package main

import "syscall"

// maxRSS is a process's greatest resident memory in bytes (Linux: KiB).
func maxRSS(usage any) int64 { return usage.(*syscall.Rusage).Maxrss << 10 }
