//go:build unix

package claudecode_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/claudecode/hooks"
	"github.com/flightlog/flightlog/producers/claudecode/transcripts"
	"github.com/flightlog/flightlog/schemas"
)

// nowhere discards what it gets.
type nowhere struct{}

func (nowhere) Event(*schemas.Event) error           { return nil }
func (nowhere) DeadLetter(*schemas.DeadLetter) error { return nil }

// cpu is the time that the process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perMB(b *testing.B, size int64, run func()) {
	b.SetBytes(size)
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		run()
	}
	b.ReportMetric((cpu()-before).Seconds()*1000/float64(b.N)/(float64(size)/1e6), "CPU-ms/MB")
}

// BenchmarkTranscripts reads all recorded transcripts.
func BenchmarkTranscripts(b *testing.B) {
	files, err := transcripts.Find(recorded)
	if err != nil {
		b.Fatal(err)
	}
	var size int64
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			b.Fatal(err)
		}
		size += info.Size()
	}
	perMB(b, size, func() {
		for _, file := range files {
			if err := transcripts.ReadFile(context.Background(), file, options, nowhere{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHooks reads all recorded hooks.
func BenchmarkHooks(b *testing.B) {
	files, err := filepath.Glob(filepath.Join(recorded, "*", "hooks.ndjson"))
	if err != nil {
		b.Fatal(err)
	}
	var all []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, text...)
	}
	perMB(b, int64(len(all)), func() {
		if err := producers.Lines(bytes.NewReader(all), "hooks", schemas.WitnessHook, nowhere{}, hooks.New(nowhere{}, options).Recorded); err != nil {
			b.Fatal(err)
		}
	})
}
