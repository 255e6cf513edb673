package kafkatest

import "syscall"

// attributes let a node die with the process that has started it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
