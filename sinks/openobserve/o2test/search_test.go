package o2test_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// ranged searches with a query in JSON, of which sql is made.
func ranged(t testing.TB, s *o2test.Server, sql, rest string) reply {
	t.Helper()
	quoted := gjson.AppendJSONString(nil, sql)
	return post(t, s, "/api/default/_search?type=logs&use_cache=false", fmt.Sprintf(`{"query":{"sql":%s,%s}}`, quoted, rest))
}

// day is the time around noon.
var day = fmt.Sprintf(`"start_time":%d,"end_time":%d`, noon.UnixMicro()-43_200_000_000, noon.UnixMicro()+43_200_000_000)

// search gives the hits of the day.
func search(t testing.TB, s *o2test.Server, sql string) gjson.Result {
	t.Helper()
	r := ranged(t, s, sql, day)
	if r.status != 200 {
		t.Fatalf("%s: %v", sql, r)
	}
	return gjson.Get(r.body, "hits")
}

// TestProbesFindWhatTheDatabaseFinds asks both the same: a condition that is
// always true keeps the indexes from answering.
func TestProbesFindWhatTheDatabaseFinds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	clock := noon
	s := start(t, o2test.Config{Now: func() time.Time { return clock }})
	text := func(prefix string, n int) string { return fmt.Sprintf("%s'%d", prefix, random.IntN(n)) }
	found := 0
	for round := range 60 {
		var rows []string
		for range 1 + random.IntN(8) {
			row := fmt.Sprintf(`{"_timestamp":%d,"batch_id":%q`, noon.UnixMicro()+random.Int64N(20), text("b", 4))
			if random.IntN(8) > 0 {
				row += fmt.Sprintf(`,"row_id":%q`, text("r", 60))
			}
			rows = append(rows, row+"}")
		}
		ingest(t, s, "cc", rows...)
		clock = clock.Add(time.Second)
		if round%3 == 0 {
			s.SetFaults(o2test.Faults{Invisible: time.Duration(random.IntN(5)) * time.Second})
		}
		var ids []string
		for range 1 + random.IntN(20) {
			ids = append(ids, "'"+strings.ReplaceAll(text("r", 60), "'", "''")+"'")
		}
		batch := "'" + strings.ReplaceAll(text("b", 4), "'", "''") + "'"
		from := noon.UnixMicro() + random.Int64N(12) - 4
		window := fmt.Sprintf(`"start_time":%d,"end_time":%d,"from":%d,"size":%d`, from, from+random.Int64N(20), random.IntN(2), 1+random.IntN(9))
		for _, sql := range []string{
			`SELECT COUNT(*) AS n, COUNT(DISTINCT row_id) AS u FROM "cc" WHERE batch_id = ` + batch,
			`select count( * ) as n , count(distinct row_id) as u from "cc" where batch_id=` + batch,
			`SELECT row_id FROM "cc" WHERE batch_id = ` + batch,
			`SELECT DISTINCT row_id FROM "cc" WHERE batch_id = ` + batch,
			`SELECT row_id FROM "cc" WHERE row_id IN (` + strings.Join(ids, ", ") + `)`,
			`SELECT DISTINCT row_id FROM "cc" WHERE row_id IN (` + strings.Join(ids, ",") + `)`,
		} {
			tail := " AND 1 = 1"
			if strings.Contains(sql, "DISTINCT row_id FROM") {
				tail += " ORDER BY row_id"
			}
			indexed, asked := ranged(t, s, sql, window), ranged(t, s, sql+tail, window)
			if indexed.status != 200 || asked.status != 200 {
				t.Fatalf("%s: %v, %v", sql, indexed, asked)
			}
			got, want := gjson.Get(indexed.body, "hits"), gjson.Get(asked.body, "hits")
			found += len(want.Array())
			if strings.HasPrefix(sql, "SELECT row_id") { // rows of one time stand in any order
				got, want = gjson.Get(got.Raw, "#._timestamp"), gjson.Get(want.Raw, "#._timestamp")
			}
			if got.Raw != want.Raw || gjson.Get(indexed.body, "scan_records").Raw != gjson.Get(asked.body, "scan_records").Raw {
				t.Fatalf("%s with %s:\n%s, want\n%s", sql, window, indexed.body, asked.body)
			}
		}
	}
	if found < 500 {
		t.Errorf("only %d hits were compared", found)
	}
}

// TestOddIdentifiersAreFoundAllTheSame: those that no index can hold.
func TestOddIdentifiersAreFoundAllTheSame(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	ingest(t, s, "cc", `{"row_id":"a\"b","batch_id":"x\ty"}`, `{"row_id":"c","batch_id":"x\ty"}`)
	if got := search(t, s, "SELECT DISTINCT row_id FROM \"cc\" WHERE batch_id = 'x\ty'").Get("#.row_id").Raw; got != `["a\"b","c"]` {
		t.Errorf("found %s", got)
	}
	ingest(t, s, "nn", `{"row_id":7,"batch_id":8}`)
	if got := search(t, s, `SELECT COUNT(*) AS n, COUNT(DISTINCT row_id) AS u FROM "nn" WHERE batch_id = '8'`).Raw; got != `[{"n":1,"u":1}]` {
		t.Errorf("found %s", got)
	}
}

func TestAnswersOfSearches(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	for i := range 6 {
		ingest(t, s, "cc", fmt.Sprintf(`{"_timestamp":%d,"row_id":"r%d","n":%d,"team":%q,"ok":%t,"usd":%d.5}`,
			noon.Add(-time.Duration(i)*10*time.Minute).UnixMicro(), i, i, []string{"web", "core"}[i%2], i > 2, i))
	}
	ingest(t, s, "teams", `{"team":"web","lead":"Ann"}`, `{"team":"core","lead":"Bob"}`)
	at := func(i int) int64 { return noon.Add(-time.Duration(i) * 10 * time.Minute).UnixMicro() }
	for _, c := range []struct{ sql, rest, hits, also string }{
		{`SELECT row_id FROM cc LIMIT 2`, day, fmt.Sprintf(`[{"_timestamp":%d,"row_id":"r0"},{"_timestamp":%d,"row_id":"r1"}]`, at(0), at(1)),
			`"order_by":"desc","order_by_metadata":[["_timestamp","desc"]]`}, // newest first, with their time
		{`SELECT row_id AS "Name" FROM "cc" WHERE n = 4;`, day, fmt.Sprintf(`[{"Name":"r4","_timestamp":%d}]`, at(4)), `"total":1`},
		{`SELECT row_id FROM cc ORDER BY n DESC, row_id`, `"from":1,"size":1,` + day, fmt.Sprintf(`[{"_timestamp":%d,"row_id":"r4"}]`, at(4)),
			`"from":1,"size":1,"cached_ratio":0`},
		{`SELECT n FROM cc ORDER BY n`, fmt.Sprintf(`"start_time":%d,"end_time":%d`, at(3), at(1)),
			fmt.Sprintf(`[{"_timestamp":%d,"n":2},{"_timestamp":%d,"n":3}]`, at(2), at(3)), `"scan_records":2`}, // start <= time < end
		{`SELECT COUNT(*) AS n FROM cc`, `"size":1`, `[{"n":0}]`, ``}, // without times there is nothing
		{`SELECT COUNT(*) AS n FROM cc`, `"size":-1,` + day, `[{"n":6}]`, `"total":1`},
		{`SELECT team, sum(n) AS n, ROUND(avg(usd), 2) AS usd FROM cc GROUP BY team ORDER BY team`, day, `[{"n":9,"team":"core","usd":3.5},{"n":6,"team":"web","usd":2.5}]`,
			`"order_by":"asc","order_by_metadata":[["team","asc"]]`},
		{`SELECT * FROM cc WHERE row_id = 'r5'`, day, fmt.Sprintf(`[{"_timestamp":%d,"n":5,"ok":true,"row_id":"r5","team":"core","usd":5.5}]`, at(5)), ``},
		{`SELECT histogram(_timestamp, '30 minute') AS x, COUNT(*) AS n FROM cc GROUP BY x ORDER BY x`, day,
			`[{"n":2,"x":"2026-01-01T11:00:00"},{"n":3,"x":"2026-01-01T11:30:00"},{"n":1,"x":"2026-01-01T12:00:00"}]`, `"histogram_interval":1800`},
		{`SELECT histogram(_timestamp) AS x, COUNT(*) AS n FROM cc GROUP BY x ORDER BY x`, fmt.Sprintf(`"start_time":%d,"end_time":%d`, at(5), at(0)+1),
			`[{"n":1,"x":"2026-01-01T11:10:00"},{"n":1,"x":"2026-01-01T11:20:00"},{"n":1,"x":"2026-01-01T11:30:00"},{"n":1,"x":"2026-01-01T11:40:00"},{"n":1,"x":"2026-01-01T11:50:00"},{"n":1,"x":"2026-01-01T12:00:00"}]`,
			`"histogram_interval":30`},
		{`SELECT approx_percentile_cont(n, 0.5) AS a, median(usd) AS b, approx_distinct(team) AS c FROM cc`, day, `[{"a":2,"b":3.0,"c":2}]`, ``},
		{`SELECT SUM(n) AS n, MAX(usd) AS m, approx_percentile_cont(n, 0.9) AS p FROM cc WHERE n > 100`, day, `[{}]`, ``}, // nulls are left out
		{`SELECT DISTINCT team FROM cc ORDER BY team`, day, `[{"team":"core"},{"team":"web"}]`, ``},
		{`SELECT team FROM cc WHERE team LIKE 'W%'`, day, `[]`, `"total":0`}, // LIKE tells capitals apart
		{`SELECT COUNT(*) AS n FROM cc WHERE str_match(team, 'or') AND str_match_ignore_case(team, 'COR') AND re_match(team, '^c.re$')`, day, `[{"n":3}]`, ``},
		{`SELECT SUM(n) AS n FROM (SELECT n, row_number() OVER (PARTITION BY team ORDER BY _timestamp) AS rn FROM "cc") WHERE rn = 1`, day, `[{"n":9}]`, ``},
		{`SELECT team, SUM(n) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM cc ORDER BY n DESC LIMIT 1`, day, `[{"s":9,"team":"core"}]`, ``},
		{`WITH a AS (SELECT team, n FROM cc), b (t, m) AS (SELECT team, MAX(n) FROM a GROUP BY team) SELECT t, m FROM b ORDER BY t`, day,
			`[{"m":5,"t":"core"},{"m":4,"t":"web"}]`, `"scan_records":6`},
		{`SELECT lead, SUM(n) AS n FROM cc JOIN "teams" AS x ON cc.team = x.team GROUP BY lead ORDER BY lead`, day, `[{"lead":"Ann","n":6},{"lead":"Bob","n":9}]`, `"scan_records":8`},
		{`SELECT COUNT(*) AS n FROM cc, teams WHERE cc.team = teams.team`, day, `[{"n":6}]`, `"scan_records":8`},
		{`SELECT COUNT(*) AS n FROM (SELECT team FROM cc WHERE n IN (1, 2)) AS a, teams, (SELECT 1)`, day, `[{"n":4}]`, `"scan_records":8`},
		{`SELECT team FROM cc WHERE n = 1 UNION ALL SELECT team FROM teams ORDER BY team`, day, `[{"team":"core"},{"team":"core"},{"team":"web"}]`, ``},
		{"SELECT COUNT(*) AS \"n -- 'x'\" -- FROM nosuch\nFROM cc WHERE team <> 'FROM nosuch'", day, `[{"n -- 'x'":6}]`, ``},
	} {
		r := ranged(t, s, c.sql, c.rest)
		if hits := gjson.Get(r.body, "hits").Raw; r.status != 200 || hits != c.hits || !strings.Contains(r.body, c.also) {
			t.Errorf("%s:\n%v, want\n%s and %s", c.sql, r, c.hits, c.also)
		}
	}
}

func TestErrorsOfSearches(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	ingest(t, s, "cc", `{"team":"web","n":1}`)
	for _, c := range []struct {
		sql     string
		code    int
		message string
	}{
		{`SELECT n n n FROM cc`, 20001, ``},
		{`SELECT n FROM cc WHERE (`, 20001, ``},
		{`DELETE FROM cc`, 20001, ``},
		{`SELECT 1`, 20001, ``},
		{``, 20001, ``},
		{`SELECT * FROM nosuch`, 20002, `Search stream not found: nosuch`},
		{`SELECT * FROM cc JOIN nosuch ON 1 = 1`, 20002, `Search stream not found: nosuch`},
		{`SELECT * FROM cc, nosuch`, 20002, `Search stream not found: nosuch`},
		{`SELECT * FROM cc WHERE n IN (SELECT n FROM nosuch)`, 20002, `Search stream not found: nosuch`},
		{`SELECT * FROM "CC"`, 20002, `Search stream not found: CC`}, // searches do not format names (§0.0)
		{`SELECT * FROM sqlite_schema`, 20002, `Search stream not found: sqlite_schema`},
		{`SELECT repo FROM cc WHERE n = 1`, 20004, `Search field not found: Schema error: No field named repo. Valid fields are cc.n.`},
		{`SELECT "repo" FROM cc`, 20004, ``}, // and not the text "repo"
		{`SELECT nosuch(n) FROM cc`, 20005, ``},
		{`SELECT SUM(team) FROM cc`, 20008, ``},
		{`SELECT AVG(team) FROM cc`, 20008, ``},
		{`SELECT histogram(_timestamp, 'often') AS x FROM cc`, 20008, ``},
		{`SELECT str_match(team) FROM cc`, 20008, ``},
	} {
		r := ranged(t, s, c.sql, day)
		if r.status != 400 || int(gjson.Get(r.body, "code").Int()) != c.code || r.header.Get("X-Error-Message") != gjson.Get(r.body, "message").Str ||
			c.message != "" && gjson.Get(r.body, "message").Str != c.message {
			t.Errorf("%s: %v, want code %d %s", c.sql, r, c.code, c.message)
		}
	}
	for _, c := range []struct {
		ask    ask
		status int
	}{
		{ask{body: `{"query":{"sql":"SELECT n FROM cc","start_time":"1"}}`}, 422},
		{ask{body: `{"query":`}, 400},
		{ask{body: `{}`, header: map[string]string{"Content-Type": "text/plain"}}, 415},
	} {
		c.ask.path = "/api/default/_search"
		if r := send(t, s, c.ask); r.status != c.status || !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") {
			t.Errorf("%v: %v, want %d in plain text", c.ask, r, c.status)
		}
	}
}

// TestColumnTypesOnlyWiden is the table of contract §1.6: what the schema says,
// and how a search then shows all values.
func TestColumnTypesOnlyWiden(t *testing.T) {
	v060, v093 := []o2test.Profile{o2test.V060}, []o2test.Profile{o2test.V093}
	both := []o2test.Profile{o2test.V060, o2test.V093}
	for _, c := range []struct {
		profiles []o2test.Profile
		batches  string // values, in batches that | divides
		typ      string
		hits     string
	}{
		{both, `1|"12"`, "Utf8", `["1","12"]`}, // row 26
		{both, `1.5|"x"`, "Utf8", `["1.5","x"]`},
		{both, `true|"x"`, "Utf8", `["true","x"]`},
		{both, `1,"x"`, "Utf8", `["1","x"]`}, // in one batch
		{both, `1|1.5`, "Float64", `[1.0,1.5]`},
		{both, `1.5,1`, "Float64", `[1.5,1.0]`},
		{both, `1.5|1`, "Float64", `[1.5,1.0]`},
		{both, `1|9223372036854775808`, "UInt64", `[1,9.223372036854776e18]`},
		{both, `-9223372036854775808|9223372036854775807`, "Int64", `[-9223372036854775808,9223372036854775807]`},
		{both, `18446744073709551615|1.9|-1`, "UInt64", `[1.8446744073709552e19,1,1.8446744073709552e19]`},
		{both, `1|18446744073709551616`, "Utf8", `["1","18446744073709551616"]`},
		{both, `1|true|false`, "Int64", `[1,1,0]`},
		{v060, `true|3|0`, "Boolean", `[true,true,false]`}, // row 28
		{v093, `true|3|0`, "Int64", `[1,3,0]`},
		{v093, `false|1.5`, "Float64", `[0.0,1.5]`},
		{both, `"x"|1|true|1.50`, "Utf8", `["x","1","true","1.50"]`},
		{both, `1|null|2`, "Int64", `[1,2]`},
	} {
		for _, p := range c.profiles {
			s := start(t, still(o2test.Config{Profile: p}))
			n := 0
			for batch := range strings.SplitSeq(c.batches, "|") {
				var rows []string
				for value := range strings.SplitSeq(batch, ",") {
					n++
					rows = append(rows, fmt.Sprintf(`{"order":%d,"v":%s}`, n, value))
				}
				ingest(t, s, "cc", rows...)
				search(t, s, `SELECT v FROM cc`) // so that it was loaded with the type that it had
			}
			schema := send(t, s, ask{method: "GET", path: "/api/default/streams/cc/schema?type=logs"})
			typ := gjson.Get(schema.body, `schema.#(name=="v").type`).Str
			if hits := search(t, s, `SELECT v FROM cc ORDER BY "order"`).Get("#.v").Raw; typ != c.typ || hits != c.hits {
				t.Errorf("%s, profile %d: %s %s, want %s %s", c.batches, p, typ, hits, c.typ, c.hits)
			}
			s.Close()
		}
	}
}

func TestANullMakesNoColumn(t *testing.T) {
	s := start(t, still(o2test.Config{}))
	ingest(t, s, "cc", `{"a":null,"b":1}`)
	r := send(t, s, ask{method: "GET", path: "/api/default/streams/cc/schema?type=logs"})
	if got := gjson.Get(r.body, "schema.#.name").Raw; got != `["_timestamp","b"]` {
		t.Errorf("columns %s", got)
	}
}

// TestAQueryThatWasAnsweredIsAnsweredTheSameUnlessItAsksForNoCache holds for a
// time that is over.
func TestAQueryThatWasAnsweredIsAnsweredTheSameUnlessItAsksForNoCache(t *testing.T) {
	clock := noon
	s := start(t, o2test.Config{Now: func() time.Time { return clock }})
	ask := func(end time.Time, cache string) int64 {
		t.Helper()
		r := post(t, s, "/api/default/_search?type=logs"+cache, fmt.Sprintf(`{"query":{"sql":"SELECT COUNT(*) AS n FROM cc","start_time":%d,"end_time":%d}}`,
			noon.Add(-time.Hour).UnixMicro(), end.UnixMicro()))
		return gjson.Get(r.body, "hits.0.n").Int()
	}
	old := fmt.Sprintf(`{"_timestamp":%d}`, noon.Add(-time.Minute).UnixMicro())
	ingest(t, s, "cc", old)
	for want := range int64(3) {
		over, ahead := noon, noon.Add(time.Hour)
		if got := []int64{ask(over, ""), ask(over, "&use_cache=true"), ask(over, "&use_cache=false"), ask(ahead, "")}; got[0] != 1 || got[1] != 1 || got[2] != want+1 || got[3] != want+1 {
			t.Errorf("with %d rows: %d", want+1, got)
		}
		ingest(t, s, "cc", old)
	}
}

// TestARowIsNotFoundForAWhile is contract §12 row 77.
func TestARowIsNotFoundForAWhile(t *testing.T) {
	clock := noon
	s := start(t, o2test.Config{Now: func() time.Time { return clock }, Faults: o2test.Faults{Invisible: time.Second}})
	ingest(t, s, "cc", record("a"))
	for i, want := range []string{`[]`, `["a"]`, `["a"]`} {
		for _, sql := range []string{
			`SELECT row_id FROM "cc" WHERE batch_id = 'b'`,
			`SELECT row_id FROM "cc" WHERE row_id IN ('a', 'b')`,
			`SELECT row_id FROM "cc" WHERE batch_id = 'b' LIMIT 7`,
		} {
			if got := search(t, s, sql).Get("#.row_id").Raw; got != want {
				t.Errorf("after %d steps: %s finds %s, want %s", i, sql, got, want)
			}
		}
		if i == 1 {
			ingest(t, s, "cc", record("b"))
		}
		clock = clock.Add([]time.Duration{time.Second, time.Second - time.Microsecond, 0}[i])
	}
	if s.Count("cc") != 2 {
		t.Errorf("%d rows are stored, want 2", s.Count("cc"))
	}
}

// TestSearchesAndRequestsAtOnce is for the race detector.
func TestSearchesAndRequestsAtOnce(t *testing.T) {
	s := start(t, still(o2test.Config{LoseOnKill: 3}))
	ingest(t, s, "cc", record("first"))
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 20 {
				ingest(t, s, "cc", record(fmt.Sprintf("%d-%d", i, j)), fmt.Sprintf(`{"c%d":%d}`, i, j))
				search(t, s, `SELECT DISTINCT row_id FROM "cc" WHERE batch_id = 'b'`)
				search(t, s, `SELECT row_id FROM "cc" WHERE row_id IN ('1-1')`)
				search(t, s, `SELECT * FROM cc ORDER BY _timestamp`)
			}
		})
	}
	all.Wait()
	if got := search(t, s, `SELECT COUNT(*) AS n FROM cc`).Raw; got != `[{"n":161}]` || s.Count("cc") != 161 {
		t.Errorf("found %s of %d rows", got, s.Count("cc"))
	}
	s.Kill()
	if s.Count("cc") != 159 {
		t.Errorf("%d rows are left, want 159", s.Count("cc"))
	}
}
