// Package o2test is a stand-in for the HTTP server of OpenObserve, for tests: in
// this process, on a loopback port, without a disk. It was written from a
// contract (what the real server was read to do, and was seen to do), whose
// sections the comments cite; the exchanges with a real v0.60.5 in testdata are
// answered alike, to the order of the keys.
//
// What it guarantees to a test:
//
//   - A row that [Server.Stored] gives is one that a search finds (unless it is
//     too new to be seen, see [Faults]), and the other way round. Nothing is
//     deduplicated: a request that comes twice is stored twice.
//   - What an answer says and what is stored differ only as the real server
//     lets them differ (contract §1.7), or by a fault that was asked for.
//     [Server.Injected] counts those.
//   - After [Server.Kill] has returned nothing is stored any more, and what was
//     stored outlives it, but for what [Config].LoseOnKill gives up.
//   - With equal seeds and one request after the other, equal faults strike.
//
// It has: ingestion by _json, _multi, _bulk, _hec and ingest/metrics/_json with
// their edge cases (contract §12) and those of credentials, encodings and limits;
// _search in SQL; streams with typed columns and settings; passcodes; folders and
// dashboards; /config and /healthz; the behaviour of two versions ([Profile]).
// Beyond the real one there is GET /__stored?stream=s, the stored rows as NDJSON.
//
// Out are, and answered with 501 or 404: OTLP (traces, logs, metrics), gRPC, Loki
// and Prometheus; alerts, templates, destinations, pipelines, functions,
// enrichment tables; users and service accounts; update_fields, delete_fields and
// deletion by time; the move and export of dashboards; _search_stream, _around
// and _values. Bodies in brotli are answered with 501, answers are never
// compressed, and the metrics of the server are not there.
//
// Searches run in SQLite, whose dialect is not quite that of the real server.
// What panels need was added: histogram, median, approx_percentile_cont,
// approx_distinct, str_match, str_match_ignore_case and re_match; sums of text
// are refused; LIKE tells capitals apart. What still differs: nulls are sorted
// first, comparisons yield 0 and 1, integers beyond 63 bits become floats, and a
// histogram without an interval chooses its own. Queries that a sink asks over
// and over (rows and counts by batch_id, rows by row_id) are answered from
// indexes; any other query first loads the columns that it names, which takes
// some 10 µs a row once.
//
// Rows are held compressed, about 300 bytes for one of 60 columns and 1 kB.
package o2test
