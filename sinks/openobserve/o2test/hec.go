package o2test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"
)

type hecAnswer struct {
	Text string `json:"text"`
	Code int    `json:"code"`
}

// errHEC: what stands in a line is no event, which refuses the whole request.
var errHEC = errors.New("Invalid data format") //nolint:staticcheck // the words of the server

// ingestHEC takes events of Splunk's collector, one a line (contract §1.10). It
// says Success whatever becomes of the records, and refuses everything else,
// overload included, with 400 (§12 rows 59 to 61).
func (q *request) ingestHEC() {
	s := q.server
	suffered := s.faults.ingestion("", s.now())
	if overload(suffered.strike) != "" || suffered.strike == strikeNotIngester || suffered.strike == strikeBlocked {
		q.answer(http.StatusBadRequest, hecAnswer{"Incorrect index", http.StatusBadRequest})
		return
	}
	body, ok := q.bodyUnder(suffered)
	if !ok {
		return
	}
	defer release(body)
	rules, batches := s.rules(), map[string]*batch{}
	for line := range bytes.Lines(body.Bytes()) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		name, record, err := hecRecord(line)
		if err == nil && name == "" && s.config.Profile == V093 {
			name = "_hec"
		}
		switch {
		case err != nil:
			q.answer(http.StatusBadRequest, hecAnswer{err.Error(), http.StatusBadRequest})
			return
		case name == "":
			q.answer(http.StatusBadRequest, hecAnswer{"Incorrect index", http.StatusBadRequest})
			return
		case batches[name] == nil:
			batches[name] = newBatch(rules, s.schemaOf(streamKey{q.vars["org"], "logs", name}), 0)
		}
		if refused, _ := batches[name].add(&scanner{data: record}); errors.Is(refused, errCrash) {
			crash()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(batches)) {
		q.store(streamKey{q.vars["org"], "logs", name}, batches[name], suffered)
	}
	q.afterStore(suffered)
	q.answer(http.StatusOK, hecAnswer{"Success", http.StatusOK})
}

// hecRecord makes a record of an event, and names its stream.
func hecRecord(line []byte) (name string, record []byte, err error) {
	s := &scanner{data: line}
	if k, _, err := s.value(0); err != nil || s.end() != nil || k != kindObject {
		return "", nil, errHEC
	}
	members := map[string]any{}
	take := func(object gjson.Result) {
		object.ForEach(func(key, value gjson.Result) bool {
			members[key.String()] = json.RawMessage(value.Raw)
			return true
		})
	}
	take(gjson.GetBytes(line, "fields"))
	switch event := gjson.GetBytes(line, "event"); {
	case event.Type == gjson.String:
		members["log"] = event.String()
	case event.IsObject():
		take(event)
	default:
		return "", nil, errHEC
	}
	if at := gjson.GetBytes(line, "time"); at.Exists() {
		if _, err := strconv.ParseInt(at.Raw, 10, 64); err != nil {
			return "", nil, errHEC
		}
		members[timeColumn] = json.RawMessage(at.Raw)
	}
	return formatName(gjson.GetBytes(line, "index").String()), []byte(jsonText(members)), nil
}
