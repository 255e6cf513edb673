package otlp_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/flightlog/flightlog/producers/otlp"
	"github.com/flightlog/flightlog/schemas"
)

// logRecord is a log record in the JSON form.
func logRecord(event string, attributes map[string]any) string {
	all := map[string]any{"session.id": "s", "prompt.id": "p", "event.name": event}
	maps.Copy(all, attributes)
	var list []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if all[key] != nil {
			list = append(list, fmt.Sprintf(`{"key":%q,"value":%s}`, key, anyValue(all[key])))
		}
	}
	return fmt.Sprintf(`{"timeUnixNano":"1795354684457000000","body":{"stringValue":"claude_code.%s"},"attributes":[%s]}`, event, strings.Join(list, ","))
}

func anyValue(v any) string {
	switch v := v.(type) {
	case string:
		return `{"stringValue":` + jsonText(v) + `}`
	case int:
		return fmt.Sprintf(`{"intValue":%d}`, v)
	case float64:
		return fmt.Sprintf(`{"doubleValue":%g}`, v)
	case bool:
		return fmt.Sprintf(`{"boolValue":%t}`, v)
	}
	return string(v.(json.RawMessage))
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func toolResult(tool string, attributes map[string]any) string {
	all := map[string]any{"tool_name": tool, "tool_use_id": "toolu_1", "success": "true"}
	maps.Copy(all, attributes)
	return logRecord("tool_result", all)
}

func request(records ...string) string {
	return `{"resourceLogs":[{"resource":{"attributes":[]},"scopeLogs":[{"logRecords":[` + strings.Join(records, ",") + `]}]}]}`
}

// logs gives what is made of one request with the records.
func logs(t *testing.T, records ...string) (*seen, *otlp.Reader) {
	t.Helper()
	s := &seen{}
	r := otlp.New(s)
	if err := r.Logs([]byte(request(records...)), otlp.JSON, "/home/dev/x.ndjson", 7); err != nil {
		t.Fatal(err)
	}
	return s, r
}

func TestTypesNeedNotBeTheStandards(t *testing.T) {
	numbers := map[string]any{"request_id": "r", "input_tokens": 7, "output_tokens": "8", "cache_read_tokens": 9.0, "cost_usd": "0.5", "duration_ms": "12.7", "cache_creation_tokens": json.RawMessage(`{"intValue":"10"}`)}
	s, _ := logs(t, logRecord("api_request", numbers))
	e := s.events[0]
	if got := tokensOf(&e); got != (tokens{input: 7, output: 8, cacheRead: 9, write: 10}) {
		t.Errorf("tokens %+v", got)
	}
	if e.Body.Model.TokenCacheWrite != schemas.SomeLong(10) || e.Body.Model.CostClientUsd != schemas.SomeDouble(0.5) || e.DurationMs != schemas.SomeLong(12) {
		t.Errorf("request %+v", e)
	}
	for _, success := range []any{"true", true} {
		s, _ := logs(t, toolResult("Read", map[string]any{"success": success}))
		if s.events[0].Success != schemas.SomeBool(true) {
			t.Errorf("success %v is %+v", success, s.events[0].Success)
		}
	}
	odd := logRecord("api_request", map[string]any{"request_id": "r", "odd": json.RawMessage(`{"values":[]}`), "empty": json.RawMessage(`null`)})
	if s, _ := logs(t, odd, strings.Replace(odd, `"1795354684457000000"`, `1795354684457000000`, 1)); len(s.events) != 2 || s.events[0] != s.events[1] {
		t.Errorf("%d events, dead letters %+v", len(s.events), s.letters)
	}
	set, _ := logs(t, logRecord("api_request", map[string]any{"request_id": "r", "duration_ms": -5}))
	if len(set.events) != 1 || set.events[0].DurationMs.Valid {
		t.Errorf("a clock that was set back: %+v", set.events)
	}
}

func TestCacheWritesAreSplitOnlyWhereThePartsMakeUpTheWhole(t *testing.T) {
	for name, c := range map[string]struct {
		attributes map[string]any
		want       schemas.ModelBody
	}{
		"split":      {map[string]any{"cache_creation_tokens": 30, "cache_creation_5m_tokens": 10, "cache_creation_1h_tokens": 20}, schemas.ModelBody{TokenCacheWrite5m: schemas.SomeLong(10), TokenCacheWrite1h: schemas.SomeLong(20)}},
		"parts only": {map[string]any{"cache_creation_5m_tokens": 10, "cache_creation_1h_tokens": 20}, schemas.ModelBody{TokenCacheWrite5m: schemas.SomeLong(10), TokenCacheWrite1h: schemas.SomeLong(20)}},
		"whole only": {map[string]any{"cache_creation_tokens": 30}, schemas.ModelBody{TokenCacheWrite: schemas.SomeLong(30)}},
		"one part":   {map[string]any{"cache_creation_tokens": 30, "cache_creation_5m_tokens": 30}, schemas.ModelBody{TokenCacheWrite: schemas.SomeLong(30)}},
		"no parts":   {map[string]any{"cache_creation_tokens": 30, "cache_creation_5m_tokens": 0, "cache_creation_1h_tokens": 0}, schemas.ModelBody{TokenCacheWrite: schemas.SomeLong(30)}},
	} {
		c.attributes["request_id"] = "r"
		s, _ := logs(t, logRecord("api_request", c.attributes))
		if s.events[0].Body.Model != c.want {
			t.Errorf("%s: %+v", name, s.events[0].Body.Model)
		}
	}
}

func TestThePersonIsManagedElseByMail(t *testing.T) {
	for name, c := range map[string]struct {
		attributes map[string]any
		user       string
		source     schemas.UserSource
		owner      string
	}{
		"managed":      {map[string]any{"enduser.id": "ann", "user.email": "ann@example.com"}, "ann", schemas.UserSourceManaged, "ann"},
		"mail":         {map[string]any{"user.email": "ann@example.com"}, "ann@example.com", schemas.UserSourceOtlpEmail, ""},
		"installation": {map[string]any{"user.id": "59d8de36"}, "", schemas.UserSourceUnknown, ""},
	} {
		s, _ := logs(t, logRecord("api_request", c.attributes))
		if e := s.events[0]; e.User != c.user || e.UserSource != c.source || e.Owner != c.owner {
			t.Errorf("%s: user %q by %s, owner %q", name, e.User, e.UserSource, e.Owner)
		}
	}
}

func TestTheTeamMayHaveTheNameOfTheVendorsExample(t *testing.T) {
	for _, key := range []string{"team", "team.id"} {
		s, _ := logs(t, logRecord("api_request", map[string]any{key: "checkout"}))
		if s.events[0].Team != "checkout" {
			t.Errorf("%s: team %q", key, s.events[0].Team)
		}
	}
}

func TestAFailuresClassIsTheClientsWordForItsStatus(t *testing.T) {
	for _, c := range []struct {
		attributes map[string]any
		status     schemas.OptLong
		class      string
	}{
		{map[string]any{"status_code": 429}, schemas.SomeLong(429), "rate_limit"},
		{map[string]any{"status_code": "401"}, schemas.SomeLong(401), "authentication_failed"},
		{map[string]any{"status_code": 404}, schemas.SomeLong(404), "model_not_found"},
		{map[string]any{"status_code": 400}, schemas.SomeLong(400), "invalid_request"},
		{map[string]any{"error": "Repeated 529 Overloaded errors"}, schemas.SomeLong(529), "server_error"},
		{map[string]any{"error": "Connection error after 30000 ms."}, schemas.OptLong{}, "unknown"},
	} {
		s, _ := logs(t, logRecord("api_error", c.attributes))
		if e := s.events[0]; e.Body.Model.StatusCode != c.status || e.ErrorClass != c.class {
			t.Errorf("%v: %+v %s", c.attributes, e.Body.Model.StatusCode, e.ErrorClass)
		}
	}
}

func TestARecordWithoutItsIdIsAFactOfItsOwn(t *testing.T) {
	bare := logRecord("api_request", map[string]any{"input_tokens": 1, "event.sequence": 4})
	s, _ := logs(t, bare, bare,
		strings.Replace(bare, `"intValue":4`, `"intValue":5`, 1),
		strings.Replace(bare, "1795354684457", "1795354684458", 1))
	facts := map[schemas.Id]bool{}
	for _, e := range s.events {
		facts[e.FactKey] = true
	}
	if len(s.events) != 4 || len(facts) != 3 || s.events[0].EventId != s.events[1].EventId {
		t.Errorf("%d events of %d facts", len(s.events), len(facts))
	}
}

func TestTheOrderOfMembersDoesNotMatter(t *testing.T) {
	record := logRecord("api_request", map[string]any{"request_id": "r"})
	resource := `"resource":{"attributes":[{"key":"host.name","value":{"stringValue":"devbox"}}]}`
	scopes := `"scopeLogs":[{"logRecords":[` + record + `]}]`
	attributes := record[strings.Index(record, `"attributes"`) : len(record)-1]
	for name, body := range map[string]string{
		"resource last":    `{"resourceLogs":[{` + scopes + `,` + resource + `}]}`,
		"attributes first": `{"resourceLogs":[{` + resource + `,"scopeLogs":[{"logRecords":[{` + attributes + `,"body":{"stringValue":"claude_code.api_request"},"timeUnixNano":"1795354684457000000"}]}]}]}`,
		"value before key": `{"resourceLogs":[{` + resource + `,` + strings.Replace(scopes, `{"key":"request_id","value":{"stringValue":"r"}}`, `{"value":{"stringValue":"r"},"key":"request_id"}`, 1) + `}]}`,
		"no body":          `{"resourceLogs":[{` + resource + `,` + strings.Replace(scopes, `"body"`, `"b"`, 1) + `}]}`,
	} {
		s := &seen{}
		if err := otlp.New(s).Logs([]byte(body), otlp.JSON, "test", 1); err != nil {
			t.Fatal(err)
		}
		if len(s.events) != 1 || s.events[0].Host != "devbox" || s.events[0].RequestId != "r" {
			t.Errorf("%s: %+v, dead letters %+v", name, s.events, s.letters)
		}
	}
}
