package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/sinks/delivery"
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
	delivery.Chain
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
