package o2test

import "net/http"

type aboutAnswer struct {
	Version                     string   `json:"version"`
	CommitHash                  string   `json:"commit_hash"`
	BuildDate                   string   `json:"build_date"`
	BuildType                   string   `json:"build_type"`
	DefaultFTSKeys              []string `json:"default_fts_keys"`
	DefaultSecondaryIndexFields []string `json:"default_secondary_index_fields"`
	TimestampColumn             string   `json:"timestamp_column"`
	IngestFlattenLevel          int      `json:"ingest_flatten_level"`
	DataRetentionDays           int      `json:"data_retention_days"`
}

// about is GET /config: the version, and the settings that a sink reads.
func (q *request) about() {
	a := aboutAnswer{
		Version: "v0.60.5", CommitHash: "o2test", BuildType: "opensource",
		DefaultFTSKeys:              []string{"body", "content", "data", "error", "errors", "json", "log", "message", "msg"},
		DefaultSecondaryIndexFields: []string{"operation_name", "service_name", "trace_id"},
		TimestampColumn:             timeColumn, IngestFlattenLevel: flattenLevel, DataRetentionDays: 3650,
	}
	if q.server.config.Profile == V093 {
		a.Version = "v0.93.0"
		a.DefaultFTSKeys = []string{"body", "content", "data", "error", "json", "llm_input", "llm_output", "log", "message", "msg"}
	}
	q.answer(http.StatusOK, a)
}

// health tells that the process runs, and no more (contract §9).
func (q *request) health() { q.raw(http.StatusOK, []byte(`{"status":"ok"}`)) }
