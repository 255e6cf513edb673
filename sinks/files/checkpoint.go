package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/schemas"
)

// checkpoint is the content of checkpoint.json.
type checkpoint struct {
	Version      int              `json:"version"`      // of this layout: 1
	Installation string           `json:"installation"` // that the positions belong to; empty before the first log was read
	Partitions   int              `json:"partitions"`   // of every topic; 0 before the first log was read
	Files        map[string]int64 `json:"files"`        // topic -> bytes
	Logs         []place          `json:"logs"`
}

// place is how far one log was read.
type place struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Position  uint64 `json:"position"` // up to which nothing is still to come
	Last      uint64 `json:"last"`     // position of the last message read, Position or less
	// Middle: the log had lost its oldest frames by age when its first one was
	// read, so that chains may begin anywhere in it.
	Middle  bool     `json:"middle"`
	Sources []source `json:"sources"`
}

// source is the last commit seen of one chain of frames in a log.
type source struct {
	Processor  string `json:"processor"`
	Partition  int64  `json:"partition"`
	Generation int64  `json:"generation"`
	Commit     int64  `json:"commit"`
	// Previous is what the last frame of the commit named as the one before, and
	// Frame the CRC-32C of its rows: on Kafka every row is a message of its
	// own, and several bear the same commit.
	Previous int64  `json:"previous,omitempty"`
	Frame    uint32 `json:"frame,omitempty"`
}

// place is the one of a log, made if need be.
func (c *checkpoint) place(topic string, partition int) *place {
	for i := range c.Logs {
		if p := &c.Logs[i]; p.Topic == topic && p.Partition == partition {
			return p
		}
	}
	c.Logs = append(c.Logs, place{Topic: topic, Partition: partition})
	return &c.Logs[len(c.Logs)-1]
}

func (p *place) source(h schemas.RowHeader) *source {
	for i := range p.Sources {
		if s := &p.Sources[i]; s.Processor == h.Processor && s.Partition == h.SourcePartition && s.Generation == h.Generation {
			return s
		}
	}
	return nil
}

// follows tells whether a frame is the next of its chain (true) or one that was
// seen before (false). A frame whose predecessor was not seen is an error. A
// frame outside of all chains (commit 0: made by no processor) is always next.
// Another frame of the commit that was seen last is next as well.
func (p *place) follows(h schemas.RowHeader, rows []byte) (bool, error) {
	seen, s := int64(0), p.source(h)
	switch {
	case h.LastCommit == 0:
		return true, nil
	case s != nil:
		seen = s.Commit
	case p.Middle || len(p.Sources) == 0:
		return true, nil
	}
	switch {
	case h.PreviousCommit == seen:
		return true, nil
	case s != nil && h.FirstCommit == seen && h.LastCommit == seen && h.PreviousCommit == s.Previous:
		return crc32.Checksum(rows, castagnoli) != s.Frame, nil
	case h.LastCommit <= seen:
		return false, nil
	}
	return false, fmt.Errorf("the frame of commits %d to %d of %s/%d (generation %d) follows commit %d, the last one seen is %d: %w",
		h.FirstCommit, h.LastCommit, h.Processor, h.SourcePartition, h.Generation, h.PreviousCommit, seen, broker.ErrLost)
}

// note takes a frame that follows into the account.
func (p *place) note(h schemas.RowHeader, rows []byte) {
	if h.LastCommit == 0 {
		return
	}
	frame := crc32.Checksum(rows, castagnoli)
	if s := p.source(h); s != nil {
		s.Commit, s.Previous, s.Frame = h.LastCommit, h.PreviousCommit, frame
		return
	}
	p.Middle = p.Middle || len(p.Sources) == 0 && h.PreviousCommit != 0
	p.Sources = append(p.Sources, source{h.Processor, h.SourcePartition, h.Generation, h.LastCommit, h.PreviousCommit, frame})
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const checkpointName = "checkpoint.json"

// load reads the checkpoint of a folder; it leaves c as it is if there is none.
func (c *checkpoint) load(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, checkpointName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, c); err != nil {
		return fmt.Errorf("%s: %w", checkpointName, err)
	}
	if c.Version != 1 || c.Files == nil {
		return fmt.Errorf("%s has version %d, want 1", checkpointName, c.Version)
	}
	return nil
}

// store replaces the checkpoint, so that a crash leaves the old or the new one.
func (c *checkpoint) store(dir string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	next := filepath.Join(dir, checkpointName+".next")
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	failpoint.Hit("files.checkpoint_written")
	if err := os.Rename(next, filepath.Join(dir, checkpointName)); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes names in a folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
