// Package brokertest is the conformance suite of [broker.Broker]: what
// processors and sinks rely on, tried on every implementation.
package brokertest

import (
	"context"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
)

// Partitions that an installation under test has.
const Partitions = 4

// Installation is a broker without any data. What is nil is not tried.
type Installation struct {
	// Open makes another connection, as another process would have it. The
	// test closes it.
	Open func(t *testing.T) broker.Broker
	// OpenLossy is Open, but the acknowledgement of the connection's first
	// commit gets lost after the commit was stored.
	OpenLossy func(t *testing.T) broker.Broker
	// Restart ends the broker and starts it again on what it has stored.
	Restart func(t *testing.T)
	// Transactional: outputs stand in their topics with the commit, as single
	// records, and the broker compacts state by itself. What is said about
	// routing and snapshots is not tried.
	Transactional bool
	// LeaseTTL is how long a dead worker keeps its partitions.
	LeaseTTL time.Duration
	// SnapshotCommits is the number of commits after which a snapshot is due.
	SnapshotCommits int
}

// patience bounds every wait of a test that fails.
const patience = 30 * time.Second

// Run tries everything on installations that provision makes.
func Run(t *testing.T, provision func(t *testing.T) Installation) {
	for _, test := range []struct {
		sentence string
		try      func(*bench)
	}{
		{"messages are read in the order of appending", readInOrder},
		{"a reader goes on behind a position", readFromPosition},
		{"topics, partitions and lanes are logs of their own", logsAreSeparate},
		{"the end is the position of the last message", endOfLog},
		{"append time never decreases", appendTime},
		{"a reader waits for what is appended later", readerWaits},
		{"a reader keeps its place when its context ends", readerKeepsPlace},
		{"payloads are not shared between callers", payloadsAreOwned},
		{"a message that is too large is refused", appendTooLarge},
		{"a log that the installation does not have is refused", unknownLogs},
		{"a message tells how many stand behind it", pending},
		{"a time leads to the first message from then on", seek},
		{"a closed connection says so", closedConnection},
		{"an installation has one name for ever, and no other has it", installationName},

		{"a commit is stored whole and names the one before", commitsAreChained},
		{"a partition without commits has no last commit", noLastCommit},
		{"restore gives what the state is made of", restoreInOrder},
		{"everybody may read the history of a partition", history},
		{"restore refuses a broken chain", restoreBrokenChain},
		{"a second owner fences the first, whose commit stores nothing", secondOwnerFences},
		{"owners that fight leave one chain, and every row once", ownersFight},
		{"commits of other partitions do not disturb", partitionsCommitTogether},
		{"a commit whose acknowledgement was lost is one commit", lostAcknowledgement},
		{"a large commit is stored and routed", largeCommit},
		{"a commit that is too large stores nothing and leaves the owner", commitTooLarge},
		{"a commit that does not fit is refused before it is stored", commitRefused},
		{"a released owner commits no more", released},

		{"outputs reach their topics once and in commit order", outputsInOrder},
		{"outputs go to the lane that they name", outputsToLanes},
		{"small commits share a frame", framesHoldRanges},
		{"what an owner did not route, the next one routes once", nextOwnerRoutes},
		{"a topic that has lost its end gets it again", topicLostItsEnd},
		{"a topic ahead of the log stops the partition", topicAheadOfLog},
		{"a topic with rows of another commit stops the partition", topicOfAnotherCommit},

		{"a snapshot is due when the log has grown", snapshotDue},
		{"a snapshot and the commits after it are the state", restoreSnapshot},
		{"a log that was purged is restored", restorePurgedLog},
		{"a damaged snapshot makes way for the one before", fallBack},
		{"a purged log without a whole snapshot is lost", bothSnapshotsDamaged},
		{"a whole log needs no snapshot", wholeLogNeedsNoSnapshot},
		{"parts of a snapshot that was never named do no harm", orphanedParts},
		{"a snapshot that another owner has cut off is dropped", snapshotCutOff},
		{"a partition that was started is never taken for a fresh one", startedPartition},

		{"one worker holds every partition", shareAlone},
		{"workers share the partitions as they come and go", shareAmongThree},
		{"what a dead worker held goes to the others", shareOfTheDead},
		{"a partition that was given up is offered again", shareAgain},
		{"a hold that fails ends the sharing", shareFails},

		{"workers of a group share a topic, and groups do not share", consumeTogether},
		{"a cursor stands where it was set, for the next worker too", cursorStands},
		{"each lane, group and topic has a cursor of its own", cursorsAreSeparate},
		{"a worker that has lost its claim sets no cursor", cursorIsFenced},
		{"a note that is too long is refused", noteTooLong},

		{"everything is there after a restart", survivesRestart},
		{"an owner and a reader live through a restart", worksThroughRestart},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			b := &bench{T: t, ctx: ctx, provision: provision, installation: provision(t)}
			b.Broker = b.open()
			test.try(b)
		})
	}
}

// bench is one installation with a connection to it.
type bench struct {
	*testing.T
	broker.Broker
	ctx          context.Context
	provision    func(t *testing.T) Installation
	installation Installation
}

// open makes another connection.
func (b *bench) open() broker.Broker { return b.closing(b.installation.Open(b.T)) }

func (b *bench) closing(c broker.Broker) broker.Broker {
	b.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.Errorf("cannot close: %v", err)
		}
	})
	return c
}

// must fails the test at once.
func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// append appends payloads and returns their positions.
func (b *bench) append(to broker.Log, payloads ...string) []uint64 {
	b.Helper()
	var positions []uint64
	for _, p := range payloads {
		position, err := b.Append(b.ctx, to, []byte(p))
		b.must(err)
		positions = append(positions, position)
	}
	return positions
}

// read opens a reader that the test closes.
func (b *bench) read(from broker.Log, after uint64) broker.Reader {
	b.Helper()
	r, err := b.Read(b.ctx, from, after)
	b.must(err)
	b.Cleanup(func() {
		if err := r.Close(); err != nil {
			b.Errorf("cannot close the reader: %v", err)
		}
	})
	return r
}

// take reads messages.
func (b *bench) take(r broker.Reader, n int) []broker.Message {
	b.Helper()
	messages := make([]broker.Message, n)
	for i := range messages {
		m, err := r.Next(b.ctx)
		if err != nil {
			b.Fatalf("message %d of %d: %v", i+1, n, err)
		}
		messages[i] = m
	}
	return messages
}

// payloads are the messages as texts.
func payloads(messages []broker.Message) []string {
	var texts []string
	for _, m := range messages {
		texts = append(texts, string(m.Payload))
	}
	return texts
}
