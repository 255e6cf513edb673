package schemas

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// String is the id's text form: 32 hex digits.
func (id Id) String() string { return hex.EncodeToString(id[:]) }

// IsZero tells an id that was never set.
func (id Id) IsZero() bool { return id == Id{} }

// hashParts is the first 16 bytes of the SHA-256 of the parts, each preceded
// by its length, so that no two lists of parts share an encoding.
func hashParts(parts ...string) (id Id) {
	var buf [256]byte
	b := buf[:0]
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	copy(id[:], sum[:])
	return id
}

// FactKey names a fact: H(partition key, kind, id). The partition key is the
// session_id, or the repository for events without a session (DESIGN §4).
func FactKey(partitionKey string, kind Kind, id string) Id {
	return hashParts("fact", partitionKey, kind.String(), id)
}

// RowID names a row: H(generation, fact_key, version, sign).
func RowID(generation int64, factKey Id, version int64, sign int32) (id Id) {
	var b [44]byte
	copy(b[:], "row:")
	binary.BigEndian.PutUint64(b[4:], uint64(generation))
	copy(b[12:], factKey[:])
	binary.BigEndian.PutUint64(b[28:], uint64(version))
	binary.BigEndian.PutUint64(b[36:], uint64(int64(sign)))
	sum := sha256.Sum256(b[:])
	copy(id[:], sum[:])
	return id
}

// SetEventID fills e.EventId: H(witness, signal, fact_key, canonical body).
// Everything that the event says counts, so that two observations that differ
// are two events, and the same one made twice is one.
func SetEventID(e *Event) {
	e.EventId = Id{}
	var buf [1024]byte
	sum := sha256.Sum256(e.AppendAvro(buf[:0]))
	copy(e.EventId[:], sum[:])
}

// TextHash is the name of a text: the first 16 bytes of its SHA-256 in hex;
// empty for an empty text.
func TextHash(text []byte) string {
	if len(text) == 0 {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// PartitionOf is the partition of a key among n: the first 8 bytes of the
// key's SHA-256 as a big-endian number, modulo n. Test vectors pin it; it is
// the same on every broker and in every language (DESIGN §3).
func PartitionOf(key string, n int) int {
	sum := sha256.Sum256([]byte(key))
	return int(binary.BigEndian.Uint64(sum[:8]) % uint64(n))
}

// PullRequestFact is the id of the fact that a session did something with a pull
// request (change, as host/owner/name#number): that it made it, or one of what it
// did with it besides. A comment must not hide that the session made it.
func PullRequestFact(change, operation string) string {
	if MadePullRequest(operation) {
		return change
	}
	return change + "/" + operation
}

// MadePullRequest tells by the operation of a session's pull request that the
// session made it, as does the client where it names none.
func MadePullRequest(operation string) bool { return operation == "" || operation == "created" }

// SharedBranch tells branches that are no work of their own: none, detached, and the
// usual names of branches that many commit to.
func SharedBranch(branch string) bool {
	switch branch {
	case "", "HEAD", "main", "master", "trunk", "develop", "development", "dev", "next", "staging", "production":
		return true
	}
	return false
}

// OperationsOf are those that a forge's observation of a kind may be of; "" is none.
// It is nil for kinds that no forge tells of.
func OperationsOf(k Kind) []string {
	switch k {
	case KindForgePullRequest:
		return pullOperations
	case KindForgePush:
		return pushOperations
	case KindCheckRun, KindDeployment:
		return runOperations
	}
	return nil
}

var (
	pullOperations = []string{"opened", "updated", "reopened", "closed", "merged"}
	pushOperations = []string{""}
	runOperations  = []string{"", "queued", "in_progress", "completed"}
)

// FamilyOf is the family that a kind belongs to.
func FamilyOf(k Kind) Family {
	switch k {
	case KindModelRequest, KindModelRetry, KindModelError:
		return FamilyModel
	case KindToolCall, KindApproval:
		return FamilyTool
	case KindFileChange, KindCommit, KindPush, KindPullRequest, KindTestRun,
		KindForgePush, KindForgePullRequest, KindCheckRun, KindDeployment:
		return FamilyArtifact
	case KindSessionStart, KindSessionEnd, KindPrompt, KindTurnEnd, KindSubagent,
		KindCompaction, KindConfigChange, KindNotification:
		return FamilySession
	}
	return FamilyUnknown
}

// SetDeadLetterID fills d.RowId: H(source, position, hash, reason), so that the
// same input that fails twice in the same way is one dead letter.
func SetDeadLetterID(d *DeadLetter) {
	d.RowId = hashParts("dead", d.Source, d.Position, d.Hash, d.Reason)
}

// SessionKey names a session of an organisation in state and in sums.
func SessionKey(org, sessionID string) Id { return hashParts("session", org, sessionID) }

// TaskKey names a task of an organisation in state and in rows.
func TaskKey(org, taskID string) Id { return hashParts("task", org, taskID) }

// EventSchema is the fingerprint of the present Event as frames bear it.
var EventSchema = signed(EventFingerprint)

func signed(fingerprint uint64) int64 { return int64(fingerprint) }
