package o2test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// settings of a stream, with the keys in the order of the server.
type settings struct {
	PartitionTimeLevel          string                     `json:"partition_time_level"`
	PartitionKeys               map[string]json.RawMessage `json:"partition_keys"`
	FullTextSearchKeys          []string                   `json:"full_text_search_keys"`
	IndexFields                 []string                   `json:"index_fields"`
	BloomFilterFields           []string                   `json:"bloom_filter_fields"`
	DistinctValueFields         []string                   `json:"distinct_value_fields"`
	DataRetention               int                        `json:"data_retention"`
	MaxQueryRange               int                        `json:"max_query_range"`
	StoreOriginalData           bool                       `json:"store_original_data"`
	ApproxPartition             bool                       `json:"approx_partition"`
	IndexUpdatedAt              int64                      `json:"index_updated_at"`
	ExtendedRetentionDays       []json.RawMessage          `json:"extended_retention_days"`
	IndexOriginalData           bool                       `json:"index_original_data"`
	IndexAllValues              bool                       `json:"index_all_values"`
	EnableDistinctFields        bool                       `json:"enable_distinct_fields"`
	EnableLogPatternsExtraction bool                       `json:"enable_log_patterns_extraction"`
	IsLLMStream                 bool                       `json:"is_llm_stream"`
}

// newSettings are those of a stream that its first record made.
func newSettings() settings {
	return settings{
		PartitionTimeLevel: "hourly", PartitionKeys: map[string]json.RawMessage{}, FullTextSearchKeys: []string{}, IndexFields: []string{},
		BloomFilterFields: []string{}, DistinctValueFields: []string{}, ExtendedRetentionDays: []json.RawMessage{}, EnableDistinctFields: true,
	}
}

// scalars are the settings that a request sets as they are; nil = it does not.
type scalars struct {
	DataRetention        *int  `json:"data_retention"`
	MaxQueryRange        *int  `json:"max_query_range"`
	StoreOriginalData    *bool `json:"store_original_data"`
	ApproxPartition      *bool `json:"approx_partition"`
	IndexOriginalData    *bool `json:"index_original_data"`
	IndexAllValues       *bool `json:"index_all_values"`
	EnableDistinctFields *bool `json:"enable_distinct_fields"`
}

func (c *scalars) apply(s *settings) {
	set(&s.DataRetention, c.DataRetention)
	set(&s.MaxQueryRange, c.MaxQueryRange)
	set(&s.StoreOriginalData, c.StoreOriginalData)
	set(&s.ApproxPartition, c.ApproxPartition)
	set(&s.IndexOriginalData, c.IndexOriginalData)
	set(&s.IndexAllValues, c.IndexAllValues)
	set(&s.EnableDistinctFields, c.EnableDistinctFields)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// creation is the body of POST /api/{org}/streams/{stream}.
type creation struct {
	Fields []struct {
		Name string     `json:"name"`
		Type columnType `json:"type"`
	} `json:"fields"`
	Settings struct {
		scalars
		PartitionKeys       []json.RawMessage `json:"partition_keys"`
		FullTextSearchKeys  []string          `json:"full_text_search_keys"`
		IndexFields         []string          `json:"index_fields"`
		BloomFilterFields   []string          `json:"bloom_filter_fields"`
		DistinctValueFields []string          `json:"distinct_value_fields"`
	} `json:"settings"`
}

// edit is a change of a list.
type edit struct {
	Add    []string `json:"add"`
	Remove []string `json:"remove"`
}

// apply tells whether the list is another one now.
func (e edit) apply(list *[]string) bool {
	next := slices.DeleteFunc(slices.Clone(*list), func(have string) bool { return slices.Contains(e.Remove, have) })
	for _, add := range e.Add {
		if !slices.Contains(next, add) {
			next = append(next, add)
		}
	}
	changed := !slices.Equal(next, *list)
	*list = next
	return changed
}

// change is the body of PUT /api/{org}/streams/{stream}/settings.
type change struct {
	scalars
	FullTextSearchKeys  edit `json:"full_text_search_keys"`
	IndexFields         edit `json:"index_fields"`
	BloomFilterFields   edit `json:"bloom_filter_fields"`
	DistinctValueFields edit `json:"distinct_value_fields"`
}

type streamStats struct {
	CreatedAt      int64       `json:"created_at"`
	DocTimeMin     int64       `json:"doc_time_min"`
	DocTimeMax     int64       `json:"doc_time_max"`
	DocNum         int64       `json:"doc_num"`
	FileNum        int64       `json:"file_num"`
	StorageSize    json.Number `json:"storage_size"`
	CompressedSize json.Number `json:"compressed_size"`
	IndexSize      json.Number `json:"index_size"`
}

type schemaField struct {
	Name string     `json:"name"`
	Type columnType `json:"type"`
}

type streamAnswer struct {
	Name        string        `json:"name"`
	StorageType string        `json:"storage_type"`
	StreamType  string        `json:"stream_type"`
	Stats       streamStats   `json:"stats"`
	Schema      []schemaField `json:"schema"`
	Settings    settings      `json:"settings"`
	TotalFields int           `json:"total_fields"`
}

// describe is what the API tells of a stream. Its statistics lag by minutes on
// the real server: here they stay 0.
func (s *stream) describe(withSchema bool) streamAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := streamAnswer{Name: s.key.name, StorageType: "disk", StreamType: s.key.kind, Schema: []schemaField{}, Settings: s.settings,
		Stats: streamStats{StorageSize: "0.0", CompressedSize: "0.0", IndexSize: "0.0"}}
	if withSchema {
		a.Stats.CreatedAt = s.created
		for _, c := range s.schema.columns {
			a.Schema = append(a.Schema, schemaField{c.name, c.typ})
		}
		a.TotalFields = len(a.Schema)
	}
	return a
}

// streamKind is the type of stream that a request is about.
func (q *request) streamKind() string {
	if kind := q.param("type"); kind != "" {
		return kind
	}
	return "logs"
}

// named is the stream that the path names. When there is none it is answered
// and nil.
func (q *request) named() *stream {
	st := q.server.stream(streamKey{q.vars["org"], q.streamKind(), q.vars["stream"]})
	if st == nil {
		q.say(http.StatusNotFound, "stream not found")
	}
	return st
}

func (q *request) listStreams() {
	s := q.server
	var all []*stream
	s.mu.RLock()
	for key, st := range s.streams {
		if key.org == q.vars["org"] && key.kind == q.streamKind() && strings.Contains(key.name, q.param("keyword")) {
			all = append(all, st)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b *stream) int { return strings.Compare(a.key.name, b.key.name) })
	a := struct {
		List  []streamAnswer `json:"list"`
		Total int            `json:"total"`
	}{[]streamAnswer{}, len(all)}
	if offset, err := strconv.Atoi(q.param("offset")); err == nil {
		all = all[max(0, min(offset, len(all))):]
	}
	if limit, err := strconv.Atoi(q.param("limit")); err == nil && limit > 0 {
		all = all[:min(limit, len(all))]
	}
	for _, st := range all {
		a.List = append(a.List, st.describe(q.param("fetchSchema") == "true"))
	}
	q.answer(http.StatusOK, a)
}

func (q *request) showStream() {
	if st := q.named(); st != nil {
		q.answer(http.StatusOK, st.describe(true))
	}
}

// createStream makes a stream with typed columns (contract §5.4).
func (q *request) createStream() {
	var c creation
	if !q.decode(&c) {
		return
	}
	var columns []column
	for _, f := range c.Fields {
		if !f.Type.known() {
			q.say(http.StatusBadRequest, "invalid data type: "+string(f.Type))
			return
		}
		if f.Name != timeColumn {
			columns = append(columns, column{f.Name, f.Type})
		}
	}
	s, key := q.server, streamKey{q.vars["org"], q.streamKind(), formatName(q.vars["stream"])}
	st := newStream(key, s.now().UnixMicro())
	st.schema = newSchema(append(columns, column{timeColumn, int64Type}))
	to := &st.settings
	to.EnableDistinctFields = false // as seen
	c.Settings.apply(to)
	for i, k := range c.Settings.PartitionKeys {
		to.PartitionKeys["L"+strconv.Itoa(i)] = k
	}
	to.FullTextSearchKeys = append(to.FullTextSearchKeys, c.Settings.FullTextSearchKeys...)
	to.IndexFields = append(to.IndexFields, c.Settings.IndexFields...)
	to.BloomFilterFields = append(to.BloomFilterFields, c.Settings.BloomFilterFields...)
	to.DistinctValueFields = append(to.DistinctValueFields, c.Settings.DistinctValueFields...)
	s.mu.Lock()
	_, there := s.streams[key]
	if !there {
		s.streams[key] = st
	}
	s.mu.Unlock()
	if there {
		q.say(http.StatusBadRequest, "stream already exists")
		return
	}
	q.say(http.StatusOK, "stream created")
}

func (q *request) changeStream() {
	st := q.named()
	if st == nil {
		return
	}
	var c change
	if !q.decode(&c) {
		return
	}
	st.mu.Lock()
	to := &st.settings
	c.apply(to)
	c.FullTextSearchKeys.apply(&to.FullTextSearchKeys)
	c.BloomFilterFields.apply(&to.BloomFilterFields)
	c.DistinctValueFields.apply(&to.DistinctValueFields)
	if c.IndexFields.apply(&to.IndexFields) {
		to.IndexUpdatedAt = q.server.now().UnixMicro()
	}
	st.mu.Unlock()
	q.say(http.StatusOK, "")
}

func (q *request) deleteStream() {
	st := q.named()
	if st == nil {
		return
	}
	s := q.server
	s.mu.Lock()
	delete(s.streams, st.key)
	s.mu.Unlock()
	if d := s.database.Load(); d != nil {
		d.forget(st)
	}
	q.say(http.StatusOK, "stream deleted")
}
