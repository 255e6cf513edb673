package o2test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// bulkItem is what the answer of _bulk says of one record.
type bulkItem struct {
	Index   string       `json:"_index"`
	ID      string       `json:"_id"`
	Version int          `json:"_version,omitempty"`
	Result  string       `json:"result,omitempty"`
	Shards  *bulkShards  `json:"_shards,omitempty"`
	SeqNo   int          `json:"_seq_no,omitempty"`
	Term    int          `json:"_primary_term,omitempty"`
	Status  int          `json:"status"`
	Error   *bulkFailure `json:"error,omitempty"`
	// Record is only there when the item failed, and then often null.
	Record *json.RawMessage `json:"originalRecord,omitempty"`
}

type bulkShards struct {
	Total      int `json:"total"`
	Successful int `json:"successful"`
	Failed     int `json:"failed"`
}

type bulkFailure struct {
	Type      string `json:"type"`
	Reason    string `json:"reason"`
	IndexUUID string `json:"index_uuid"`
	Shard     string `json:"shard"`
	Index     string `json:"index"`
}

type bulkAnswer struct {
	Took   int                   `json:"took"`
	Errors bool                  `json:"errors"`
	Items  []map[string]bulkItem `json:"items"`
}

// errBulkTime is what _bulk says of every time that it cannot read.
var errBulkTime = errors.New("timestamp_parsing_failed")

var null = json.RawMessage("null")

func created(index, id string) bulkItem {
	return bulkItem{Index: index, ID: id, Version: 1, Result: "created", Shards: &bulkShards{1, 1, 0}, SeqNo: 1, Term: 1, Status: http.StatusOK}
}

func failed(index, id, kind, reason string, record json.RawMessage) bulkItem {
	return bulkItem{Index: index, ID: id, Status: http.StatusUnprocessableEntity, Record: &record,
		Error: &bulkFailure{kind, reason, "0", "1", index}}
}

// bulk is one request of _bulk while its lines are read (contract §1.9).
type bulk struct {
	*request
	rules   *rules
	batches map[string]*batch // by stream
	answer  bulkAnswer
	crashed bool

	// of the data line that comes next
	action, index, id string
}

// ingestBulk takes lines in pairs: an action, which names the stream, and a record.
func (q *request) ingestBulk() {
	s := q.server
	suffered := s.faults.ingestion("", s.now())
	body, ok := q.bodyUnder(suffered)
	if !ok {
		return
	}
	defer release(body)
	b := &bulk{request: q, rules: s.rules(), batches: map[string]*batch{}}
	b.rules.nullTime = errTimestamp
	b.answer.Items = []map[string]bulkItem{}
	for line := range bytes.Lines(body.Bytes()) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			line = bytes.ToValidUTF8(line, []byte("\uFFFD"))
		}
		if err := b.line(line); err != nil {
			q.say(http.StatusBadRequest, "SerdeJsonError# "+err.Error())
			return
		}
	}
	if b.crashed {
		crash()
	}
	b.store(suffered)
	q.afterStore(suffered)
	q.answer(http.StatusOK, b.answer)
}

// line takes one line. Only errors of the syntax are errors: they end the request.
func (b *bulk) line(line []byte) error {
	s := &scanner{data: line}
	k, _, err := s.value(0)
	if err == nil {
		err = s.end()
	}
	switch {
	case err != nil || b.crashed:
		return err
	case b.action != "":
		b.record(line, k)
		b.action = ""
	case k == kindObject:
		b.begin(line)
	case b.server.config.Profile == V060:
		b.crashed = true // contract §12 row 53
	}
	return nil
}

// begin reads an action line. What names no stream is skipped, and so is the
// line behind it, because it is then read as an action (contract §12 row 54).
func (b *bulk) begin(line []byte) {
	for _, action := range []string{"create", "index", "update"} {
		index := gjson.GetBytes(line, action+"._index")
		if index.Type != gjson.String {
			continue
		}
		id := gjson.GetBytes(line, action+"._id").String()
		name := formatName(index.String())
		if name == "" || name == "_" {
			reason := "Invalid stream name: " + string(line)
			b.fail(action, failed(index.String(), id, reason, reason, json.RawMessage(jsonText(gjson.ParseBytes(line).Value()))))
			return
		}
		b.action, b.index, b.id = action, name, id
		return
	}
}

func (b *bulk) fail(action string, item bulkItem) {
	b.answer.Errors = true
	b.answer.Items = append(b.answer.Items, map[string]bulkItem{action: item})
}

// record takes a data line.
func (b *bulk) record(line []byte, k kind) {
	if k != kindObject {
		b.crashed = true // contract §12 row 52
		return
	}
	into := b.batches[b.index]
	if into == nil {
		into = newBatch(b.rules, b.server.schemaOf(b.key(b.index)), 0)
		b.batches[b.index] = into
	}
	if b.id != "" {
		line = withID(line, b.id)
	}
	refused, err := into.add(&scanner{data: line})
	switch {
	case err != nil:
		panic(err) // the line was checked
	case errors.Is(refused, errCrash):
		b.crashed = true
	case errors.Is(refused, errTimestamp):
		refused = errBulkTime
		fallthrough
	case refused != nil:
		b.fail(b.action, failed(b.index, b.id, errBulkTime.Error(), refused.Error(), null))
	default:
		into.docs = append(into.docs, b.id)
	}
}

func (b *bulk) key(name string) streamKey { return streamKey{b.vars["org"], "logs", name} }

// withID puts _id into a record, in the place of one that it has.
func withID(line []byte, id string) []byte {
	members := map[string]json.RawMessage{}
	gjson.ParseBytes(line).ForEach(func(key, value gjson.Result) bool {
		members[key.String()] = json.RawMessage(value.Raw)
		return true
	})
	members[docColumn] = json.RawMessage(jsonText(id))
	return []byte(jsonText(members))
}

// store stores stream by stream. The items of rows that were lost are missing,
// unless the loss is one that the server does not notice (contract §1.7).
func (b *bulk) store(suffered blow) {
	full := b.server.faults.bulkOverflow()
	for i, name := range slices.Sorted(maps.Keys(b.batches)) {
		batch := b.batches[name]
		if full && i > 0 && len(batch.docs) > 0 {
			b.fail("index", failed(name, "", "pipeline_execution_failed", "Error# MemoryTableOverflowError", null))
			continue
		}
		claimed := batch.docs
		if n := b.request.store(b.key(name), batch, suffered); n < len(claimed) {
			claimed = batch.docs[:n]
		}
		for _, id := range claimed {
			b.answer.Items = append(b.answer.Items, map[string]bulkItem{"index": created(name, id)})
		}
	}
}
