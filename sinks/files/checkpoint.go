package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/failpoint"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
)

// checkpoint is what is known to stand in a folder: the content of its
// checkpoint.json, or archive.json.
type checkpoint struct {
	name string             // of its file
	at   map[broker.Log]int // where the places stand in Logs

	Version      int              `json:"version"`      // of this layout: 1
	Installation string           `json:"installation"` // that the positions belong to; empty before the first log was read
	Partitions   int              `json:"partitions"`   // of every topic; 0 before the first log was read
	Files        map[string]int64 `json:"files"`        // topic -> bytes, of an archive those of its index
	Logs         []place          `json:"logs"`
	// Closing are files of an archive that are complete, and may still bear the
	// names of open ones.
	Closing []string `json:"closing,omitempty"`
}

// place is how far one log was read.
type place struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Lane      string `json:"lane,omitempty"` // empty = normal
	Position  uint64 `json:"position"`       // up to which nothing is still to come
	Last      uint64 `json:"last"`           // position of the last message read, Position or less
	delivery.Chain
	Archived *archived `json:"archived,omitempty"` // nil in a folder of rows
}

// place is the one of a log, made if need be. It is good until the next one is
// made.
func (c *checkpoint) place(log broker.Log) *place {
	if c.at == nil {
		c.at = map[broker.Log]int{}
		for i := range c.Logs {
			c.at[c.Logs[i].log()] = i
		}
	}
	i, ok := c.at[log]
	if !ok {
		i = len(c.Logs)
		c.at[log] = i
		c.Logs = append(c.Logs, place{Topic: log.Topic, Partition: log.Partition, Lane: laneName(log.Lane)})
	}
	return &c.Logs[i]
}

// log is the one that the place is of.
func (p *place) log() broker.Log {
	log := broker.Log{Topic: p.Topic, Partition: p.Partition}
	if p.Lane != "" {
		log.Lane, _ = schemas.ParseLane(p.Lane)
	}
	return log
}

// laneName is how a lane is written: not at all, if it is the normal one.
func laneName(lane schemas.Lane) string {
	if lane == schemas.LaneNormal {
		return ""
	}
	return lane.String()
}

// load reads the checkpoint of a folder; it leaves c as it is if there is none.
func (c *checkpoint) load(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, c.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, c); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if c.Version != 1 || c.Files == nil {
		return fmt.Errorf("%s has version %d, want 1", c.name, c.Version)
	}
	return nil
}

// store replaces the checkpoint, so that a crash leaves the old or the new one.
func (c *checkpoint) store(dir string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	next := filepath.Join(dir, c.name+".next")
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	failpoint.Hit("files.checkpoint_written")
	if err := os.Rename(next, filepath.Join(dir, c.name)); err != nil {
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
