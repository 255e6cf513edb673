//go:build unix && !linux

package kafkatest

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
