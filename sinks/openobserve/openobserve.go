// Package openobserve loads rows into OpenObserve: a [delivery.Destination] over
// its HTTP API, and what has to stand there before.
//
// Rows go to one stream for each topic by _json, flat, with _timestamp in µs and
// one type for each column. The server has no keys: a row that arrives twice
// stands twice. It bears its row_id, and queries take one row for each. After an
// answer that was lost the server is asked, by batch_id, before anything is sent
// again; and after an answer 200, which never means that rows are stored.
//
// Facts about the server are those of the contract contracts/openobserve.md.
package openobserve

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/klauspost/compress/gzip"
	"github.com/tidwall/gjson"
)

// Sink is a [delivery.Destination].
type Sink struct {
	client   *Client
	window   atomic.Pointer[Window]
	stop     context.CancelFunc         // asking for it
	extra    map[string]map[string]bool // topic -> columns that its stream has not
	identity atomic.Bool                // the server takes no gzip
	now      func() time.Time
}

var _ delivery.Destination = (*Sink)(nil)

// Open asks the server what the sink must know: how old rows may be, and which
// columns the topics' streams have. It waits for a server that is down, and
// refuses one whose window is shorter than need, which is how old the rows of a
// topic can get before they are loaded; 0 takes any.
func Open(ctx context.Context, config Config, topics []string, need time.Duration) (*Sink, error) {
	client, err := NewClient(config)
	if err != nil {
		return nil, err
	}
	if !config.Loading.IsSet() {
		return nil, errors.New("cannot use OpenObserve: user: \"\": must be set, with a password from a file or from the environment")
	}
	s := &Sink{client: client, extra: map[string]map[string]bool{}, now: time.Now}
	if config.InClear() {
		slog.Warn("passwords and rows go to OpenObserve unencrypted: use https", "url", config.URL)
	}
	if !config.Admin.IsSet() {
		slog.Warn("without an admin account OpenObserve cannot be asked: that the streams are provisioned was not checked, and after an answer that was lost rows are sent again, and count once by their row_id only")
	}
	if err := s.learn(ctx, topics, need); err != nil {
		client.Close()
		return nil, fmt.Errorf("cannot load into OpenObserve at %s: %w", config.URL, err)
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	go s.keepAsking(ctx)
	return s, nil
}

// keepAsking for the window: a server may be started anew with another one.
func (s *Sink) keepAsking(ctx context.Context) {
	for {
		select {
		case <-time.After(s.client.config.AskEvery):
		case <-ctx.Done():
			return
		}
		w, err := s.client.Window(ctx)
		if err != nil {
			continue
		}
		if before := s.window.Swap(&w); *before != w {
			slog.Info("the server takes rows of another age now", "back", w.Back, "ahead", w.Ahead, "before", before.Back)
		}
	}
}

// Name tells the store and where in it the rows go.
func (s *Sink) Name() string {
	c := &s.client.config
	return fmt.Sprintf("%s %s %s", c.URL, c.Org, c.Streams)
}

// Window is the server's, as it said last.
func (s *Sink) Window() Window { return *s.window.Load() }

// Close gives the connections back.
func (s *Sink) Close() {
	s.stop()
	s.client.Close()
}

// learn asks until the server answers.
func (s *Sink) learn(ctx context.Context, topics []string, need time.Duration) error {
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := s.ask(ctx, topics, need)
		if err == nil || !mayPass(err) || ctx.Err() != nil {
			return err
		}
		slog.Warn("OpenObserve does not answer, trying again", "url", s.client.config.URL, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Sink) ask(ctx context.Context, topics []string, need time.Duration) error {
	w, err := s.client.Window(ctx)
	if err != nil {
		return err
	}
	s.window.Store(&w)
	if w.Back < need {
		return fmt.Errorf("it refuses rows older than %d h, and rows may wait for up to %d h in the topic: start it with ZO_INGEST_ALLOWED_UPTO=%d or more, "+
			"or accept its window with --openobserve-window %dh (older rows then become dead letters, %s)",
			int(w.Back.Hours()), int(need.Hours()), int(need.Hours()), int(w.Back.Hours()), OutsideWindow)
	}
	if !s.client.config.Admin.IsSet() {
		return nil
	}
	for _, topic := range topics {
		name := s.client.config.StreamName(topic)
		have, err := s.client.stream(ctx, name)
		if errors.Is(err, ErrNoStream) {
			err = fmt.Errorf("organisation %s, stream %w: 'flightlog provision openobserve' makes it, with the types of its columns (give it the same organisation, --openobserve-streams and --generation)", s.client.config.Org, err)
		}
		if err != nil {
			return err
		}
		missing, err := have.missingColumns(topic)
		if err != nil {
			return err
		}
		delete(s.extra, topic)
		if len(missing) > 0 {
			s.extra[topic] = map[string]bool{}
			for _, c := range missing {
				s.extra[topic][c.Name] = true
			}
			slog.Warn("a stream lacks columns of this release, their values go to the column extra: 'flightlog provision openobserve' makes them", "stream", name, "columns", len(missing))
		}
	}
	return nil
}

// mayPass tells errors of a server that may answer otherwise later.
func mayPass(err error) bool {
	var refused *refusal
	if errors.As(err, &refused) {
		return refused.status >= 500 || refused.status == http.StatusTooManyRequests
	}
	var send *sendError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError // the server speaks http
	return errors.As(err, &send) && !errors.As(err, &certificate) && !errors.As(err, &plain)
}

// AppendRow writes a row as an object that lacks its end: the batch's name and
// the brace come when it is sent.
func (s *Sink) AppendRow(b []byte, topic string, row *delivery.Row) []byte {
	start := len(b)
	b = strconv.AppendInt(append(b, `{"_timestamp":`...), row.At, 10)
	comma := len(b)
	switch {
	case row.Enriched != nil:
		b = row.Enriched.AppendJSON(b)
	case row.Finding != nil:
		b = appendFinding(b, row.Finding)
	case row.Task != nil:
		b = append(appendFlat(append(b, '{'), "", row.Task.AppendJSON(nil)), '}')
	case row.Spend != nil:
		b = row.Spend.AppendJSON(b)
	default:
		d := *row.DeadLetter
		d.Payload = nil
		b = d.AppendJSON(b)
	}
	b[comma] = ','
	b = b[:len(b)-1]
	if missing := s.extra[topic]; missing != nil {
		b = withExtra(b, start, missing)
	}
	return b
}

// appendFinding writes the evidence as one text: a list would become one on the
// server, in its own words.
func appendFinding(b []byte, f *schemas.Finding) []byte {
	flat := *f
	flat.Evidence = nil
	b = flat.AppendJSON(b)
	if len(f.Evidence) == 0 {
		return b
	}
	b = append(b[:len(b)-1], `,"evidence":"`...)
	for i, id := range f.Evidence {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, id.String()...)
	}
	return append(b, `"}`...)
}

// appendFlat writes the members of an object without its braces, as Columns has
// them: the members of an object in it under both names, and a list as one text,
// with a comma between ids and as JSON else.
func appendFlat(b []byte, prefix string, object []byte) []byte {
	gjson.ParseBytes(object).ForEach(func(key, value gjson.Result) bool {
		name := prefix + key.Str
		if value.IsObject() {
			b = appendFlat(b, name+"_", []byte(value.Raw))
			return true
		}
		if last := b[len(b)-1]; last != '{' {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), `":`...)
		if !value.IsArray() {
			b = append(b, value.Raw...)
			return true
		}
		text := value.Raw
		if all := value.Array(); len(all) > 0 && all[0].Type == gjson.String {
			text = ""
			for i, one := range all {
				if i > 0 {
					text += ","
				}
				text += one.Str
			}
		}
		quoted, _ := json.Marshal(text) // a string: it cannot fail
		b = append(b, quoted...)
		return true
	})
	return b
}

// withExtra moves the columns that the stream lacks into one.
func withExtra(b []byte, start int, missing map[string]bool) []byte {
	row := append(bytes.Clone(b[start:]), '}')
	b = append(b[:start], '{')
	extra := []byte{'{'}
	gjson.ParseBytes(row).ForEach(func(key, value gjson.Result) bool {
		to := &b
		if missing[key.Str] {
			to = &extra
		}
		if n := len(*to); (*to)[n-1] != '{' {
			*to = append(*to, ',')
		}
		*to = append(append(append(*to, key.Raw...), ':'), value.Raw...)
		return true
	})
	if len(extra) > 1 && !missing[extraColumn] {
		text, _ := json.Marshal(string(append(extra, '}')))
		b = append(append(b, `,"extra":`...), text...)
	}
	return b
}

// edgeMargin: a row this near to the edge of the window is not sent any more.
const edgeMargin = time.Minute

// Refuses tells a row outside of the window.
func (s *Sink) Refuses(at int64) (reason, detail string) {
	now, w := s.now(), s.Window()
	switch {
	case at < now.Add(edgeMargin-w.Back).UnixMicro():
		return OutsideWindow, fmt.Sprintf("older than %d h (ZO_INGEST_ALLOWED_UPTO)", int(w.Back.Hours()))
	case at > now.Add(w.Ahead-edgeMargin).UnixMicro():
		return OutsideWindow, fmt.Sprintf("more than %d h ahead (ZO_INGEST_ALLOWED_IN_FUTURE)", int(w.Ahead.Hours()))
	}
	return "", ""
}

// packer is what a body is made with.
type packer struct {
	gzip *gzip.Writer
	text []byte // staged, so that gzip is called for many rows at a time
}

// staged is how much text is staged.
const staged = 128 << 10

var packers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a valid one
	return &packer{w, make([]byte, 0, staged+staged/2)}
}}

// pack writes rows as an array, in an encoding. The body is new memory: a
// connection that broke may still read it.
func pack(b *delivery.Batch, rows []int, encoding string) ([]byte, error) {
	p := packers.Get().(*packer)
	defer packers.Put(p)
	var body bytes.Buffer
	var w io.Writer = &body
	if encoding != "" {
		p.gzip.Reset(&body)
		w = p.gzip
	}
	end := `,"` + batchColumn + `":"` + b.ID + `"}`
	p.text = append(p.text[:0], '[')
	for n, i := range rows {
		if n > 0 {
			p.text = append(p.text, ',')
		}
		p.text = append(append(p.text, b.Row(i)...), end...)
		if len(p.text) >= staged {
			if _, err := w.Write(p.text); err != nil {
				return nil, err
			}
			p.text = p.text[:0]
		}
	}
	if _, err := w.Write(append(p.text, ']')); err != nil {
		return nil, err
	}
	if encoding == "" {
		return body.Bytes(), nil
	}
	err := p.gzip.Close()
	return body.Bytes(), err
}

// Send posts some rows of a batch.
func (s *Sink) Send(ctx context.Context, b *delivery.Batch, rows []int) delivery.Outcome {
	r := request{account: &s.client.config.Loading, method: http.MethodPost, path: s.client.org("/" + s.client.config.StreamName(b.Topic) + "/_json")}
	if !s.identity.Load() {
		r.encoding = "gzip"
	}
	var err error
	if r.body, err = pack(b, rows, r.encoding); err != nil {
		return delivery.Outcome{Class: delivery.Untouched, Err: err}
	}
	a, err := s.client.do(ctx, r)
	if err != nil {
		return unanswered(err)
	}
	return s.classify(a, len(rows), r.encoding)
}

// Answers asks for the window again, as the rows are sent.
func (s *Sink) Answers(ctx context.Context) error {
	_, err := s.client.Window(ctx)
	return err
}

// hits is the answer of _search.
type hits struct {
	Hits      []json.RawMessage `json:"hits"`
	IsPartial bool              `json:"is_partial"`
}

// search asks within a time, without the server's cache of results.
func (c *Client) search(ctx context.Context, sql string, from, to int64, size int) ([]json.RawMessage, error) {
	in := map[string]any{"query": map[string]any{"sql": sql, "start_time": from, "end_time": to, "from": 0, "size": size}}
	var found hits
	a, err := c.call(ctx, &c.config.Admin, http.MethodPost, c.org("/_search"), url.Values{"type": {"logs"}, "use_cache": {"false"}}, in, &found)
	if a != nil && a.status == http.StatusBadRequest && gjson.GetBytes(a.body, "code").Int() == codeNoStream {
		return nil, ErrNoStream
	}
	if err == nil && found.IsPartial {
		err = errors.New("the search was answered in part only")
	}
	return found.Hits, err
}

// codeNoStream: the stream has no row yet (contract §5.1).
const codeNoStream = 20002

// asked is how many rows are asked for by their ids in one search.
const asked = 400

// Missing asks by the batch's name: first how many of its rows there are, then
// which. Rows that may have come in other batches it asks for by their ids.
func (s *Sink) Missing(ctx context.Context, b *delivery.Batch, rows []int) ([]int, error) {
	if !s.client.config.Admin.IsSet() {
		return nil, delivery.ErrBlind
	}
	from, to := b.Span()
	from, to = from-1_000_000, to+1_000_000
	stream := s.client.config.StreamName(b.Topic)
	var found []json.RawMessage
	var err error
	switch {
	case b.Scattered:
		for some := range slices.Chunk(rows, asked) {
			var more []json.RawMessage
			if more, err = s.client.search(ctx, rowsByID(stream, b, some), from, to, len(some)+1); err != nil {
				break
			}
			found = append(found, more...)
		}
	default:
		if len(rows) == b.Len() {
			found, err = s.client.search(ctx, fmt.Sprintf(`SELECT COUNT(*) AS n, COUNT(DISTINCT row_id) AS u FROM "%s" WHERE batch_id = '%s'`, stream, b.ID), from, to, 1)
			if err == nil && len(found) == 1 && stands(b, gjson.GetBytes(found[0], "u").Int()) {
				return nil, nil
			}
		}
		if err == nil {
			found, err = s.client.search(ctx, fmt.Sprintf(`SELECT DISTINCT row_id FROM "%s" WHERE batch_id = '%s'`, stream, b.ID), from, to, b.Len()+1)
		}
	}
	var refused *refusal
	if errors.As(err, &refused) && (refused.status == http.StatusUnauthorized || refused.status == http.StatusForbidden || refused.status == http.StatusNotFound) {
		return nil, fmt.Errorf("%w: the admin account: %w", delivery.ErrImpossible, err)
	}
	if err != nil && !errors.Is(err, ErrNoStream) {
		return nil, err
	}
	held := make(map[string]bool, len(found))
	for _, hit := range found {
		held[gjson.GetBytes(hit, "row_id").Str] = true
	}
	var missing []int
	for _, i := range rows {
		if !held[b.RowID(i).String()] {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// stands tells whether so many different rows are all of a batch.
func stands(b *delivery.Batch, different int64) bool {
	return different == int64(b.Len()) || different == int64(b.Distinct())
}

func rowsByID(stream string, b *delivery.Batch, rows []int) string {
	sql := fmt.Appendf(nil, `SELECT DISTINCT row_id FROM "%s" WHERE row_id IN (`, stream)
	for n, i := range rows {
		if n > 0 {
			sql = append(sql, ", "...)
		}
		sql = fmt.Appendf(sql, "'%s'", b.RowID(i))
	}
	return string(append(sql, ')'))
}
