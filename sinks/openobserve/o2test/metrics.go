package o2test

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/tidwall/gjson"
)

// metricsFailure is what the metrics endpoint says under pressure: the key is
// another one than everywhere else (contract §12 row 72).
type metricsFailure struct {
	Code  int    `json:"code"`
	Error string `json:"error"`
}

// ingestMetrics takes an array of flat samples, each for the stream that its
// name names. It stores all of them or none, and of any age (contract §4.2).
func (q *request) ingestMetrics() {
	s := q.server
	suffered := s.faults.ingestion("", s.now())
	if text := overload(suffered.strike); text != "" {
		q.answer(http.StatusServiceUnavailable, metricsFailure{http.StatusServiceUnavailable, text})
		return
	}
	body, ok := q.bodyUnder(suffered)
	if !ok {
		return
	}
	defer release(body)
	rules := s.rules()
	rules.oldest, rules.newest = 0, 1<<62 // no window
	var names []string
	batches := map[string]*batch{}
	sc := &scanner{data: body.Bytes()}
	if _, _, err := sc.value(0); err != nil || sc.end() != nil {
		q.say(http.StatusBadRequest, fmt.Sprintf("SerdeJsonError# %v", errors.Join(err, sc.end())))
		return
	}
	for _, sample := range gjson.ParseBytes(body.Bytes()).Array() {
		name, err := checkSample(sample)
		if err != nil {
			q.say(http.StatusBadRequest, err.Error())
			return
		}
		if batches[name] == nil {
			names = append(names, name)
			batches[name] = newBatch(rules, s.schemaOf(q.metric(name)), 0)
		}
		if refused, _ := batches[name].add(&scanner{data: []byte(sample.Raw)}); refused != nil {
			q.say(http.StatusBadRequest, refused.Error())
			return
		}
	}
	a := ingestAnswer{http.StatusOK, []counts{}}
	for _, name := range names {
		a.Status = append(a.Status, counts{Name: name, Successful: q.store(q.metric(name), batches[name], suffered)})
	}
	q.afterStore(suffered)
	q.answer(http.StatusOK, a)
}

func (q *request) metric(name string) streamKey { return streamKey{q.vars["org"], "metrics", name} }

func checkSample(sample gjson.Result) (name string, err error) {
	if name = formatName(sample.Get("__name__").String()); name == "" {
		return "", errors.New("missing __name__")
	}
	switch kind := sample.Get("__type__").String(); kind {
	case "", "counter", "gauge", "histogram", "summary":
	default:
		return "", errors.New("invalid metrics type " + kind)
	}
	for _, key := range []string{"value", timeColumn} {
		if sample.Get(key).Type != gjson.Number {
			return "", errors.New("missing " + key)
		}
	}
	return name, nil
}
