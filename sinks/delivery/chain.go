package delivery

import (
	"fmt"
	"hash/crc32"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// Chain is what was seen of the frames in one log: each frame of a processor's
// partition names the commit before it that had rows for the log, so that a
// frame that is missing, or comes twice, shows. It is stored as JSON with the
// place in the log.
type Chain struct {
	// Middle: the log had lost its oldest frames by age when its first one was
	// read, or reading went on in the middle of it, so that sources may begin
	// anywhere.
	Middle  bool     `json:"middle"`
	Sources []Source `json:"sources"`
}

// Source is the last commit seen of one source of frames.
type Source struct {
	Processor  string `json:"processor"`
	Partition  int64  `json:"partition"`
	Generation int64  `json:"generation"`
	Commit     int64  `json:"commit"`
	// Previous is what the last frame of the commit named as the one before, and
	// Frame a checksum of its rows: on Kafka every row is a message of its own,
	// and several bear the same commit.
	Previous int64  `json:"previous,omitempty"`
	Frame    uint32 `json:"frame,omitempty"`
}

func (c *Chain) source(h schemas.RowHeader) *Source {
	for i := range c.Sources {
		if s := &c.Sources[i]; s.Processor == h.Processor && s.Partition == h.SourcePartition && s.Generation == h.Generation {
			return s
		}
	}
	return nil
}

// Follows tells whether a frame is the next of its source (true) or one that
// was seen before (false). A frame whose predecessor was not seen is
// broker.ErrLost. A frame outside of all sources (commit 0: made by no
// processor) is always next. Another frame of the commit that was seen last is
// next as well.
func (c *Chain) Follows(h schemas.RowHeader, frame uint32) (bool, error) {
	seen, s := int64(0), c.source(h)
	switch {
	case h.LastCommit == 0:
		return true, nil
	case s != nil:
		seen = s.Commit
	case c.Middle || len(c.Sources) == 0:
		return true, nil
	}
	switch {
	case h.PreviousCommit == seen:
		return true, nil
	case s != nil && h.FirstCommit == seen && h.LastCommit == seen && h.PreviousCommit == s.Previous:
		return frame != s.Frame, nil
	case h.LastCommit <= seen:
		return false, nil
	}
	return false, fmt.Errorf("the frame of commits %d to %d of %s/%d (generation %d) follows commit %d, the last one seen is %d: %w",
		h.FirstCommit, h.LastCommit, h.Processor, h.SourcePartition, h.Generation, h.PreviousCommit, seen, broker.ErrLost)
}

// Note takes a frame that follows into the account.
func (c *Chain) Note(h schemas.RowHeader, frame uint32) {
	if h.LastCommit == 0 {
		return
	}
	if s := c.source(h); s != nil {
		s.Commit, s.Previous, s.Frame = h.LastCommit, h.PreviousCommit, frame
		return
	}
	c.Middle = c.Middle || len(c.Sources) == 0 && h.PreviousCommit != 0
	c.Sources = append(c.Sources, Source{h.Processor, h.SourcePartition, h.Generation, h.LastCommit, h.PreviousCommit, frame})
}

// Checksum is the CRC-32C by which frames of one commit are told apart.
func Checksum(frame []byte) uint32 { return crc32.Checksum(frame, castagnoli) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
