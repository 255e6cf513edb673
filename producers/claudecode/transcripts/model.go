package transcripts

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/producers/claudecode"
	"github.com/flightlog/flightlog/producers/extraction"
	"github.com/flightlog/flightlog/schemas"
)

// message is the message of the assistant that was told of last. It comes as
// one line per block, each with the message's whole usage (contract §3.3).
type message struct {
	id, usage string
	text      bool // its text was told
}

// answer is what counts of an API message.
type answer struct{ id, model, stop, content, usage gjson.Result }

func answerOf(message gjson.Result) (a answer) {
	message.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "id":
			a.id = v
		case "model":
			a.model = v
		case "stop_reason":
			a.stop = v
		case "content":
			a.content = v
		case "usage":
			a.usage = v
		}
		return true
	})
	return a
}

func (r *reader) assistant(l *line) error {
	if l.gaveUp {
		return r.gaveUp(l)
	}
	a := answerOf(l.message)
	if a.model.Str == "<synthetic>" {
		return nil // the client's own words (contract §3.5)
	}
	text := ""
	var uses []gjson.Result
	a.content.ForEach(func(_, block gjson.Result) bool {
		switch block.Get("type").Str {
		case "text":
			text = block.Get("text").Str
		case "tool_use":
			uses = append(uses, block)
		}
		return true
	})
	if !l.side || r.run != nil {
		stop := a.stop.Str // older clients do not tell
		r.turn = turn{scene: l.scene, last: len(uses) == 0 && stop != "tool_use" && (stop != "" || text != "")}
		final := strings.TrimSpace(text) // as Stop tells it (recording large-output)
		r.turn.text, r.turn.length = claudecode.Hash(final)
		if r.turn.last && r.run == nil {
			r.turn.claim = extraction.Claim(final)
		}
	}
	if err := r.modelRequest(l, &a, text); err != nil {
		return err
	}
	for _, block := range uses {
		if err := r.use(l, block); err != nil {
			return err
		}
	}
	return nil
}

// modelRequest tells what a message cost: with its first line, and again with
// a line that says more, as its usage in older clients (contract §3.3).
func (r *reader) modelRequest(l *line, a *answer, text string) error {
	message, err := claudecode.ID(a.id, "message.id")
	if err != nil {
		return err
	}
	fact := cmp.Or(l.requestId, message)
	if fact == "" || !a.usage.IsObject() && l.requestId == "" {
		return nil
	}
	same := r.message.id == fact && r.message.usage == a.usage.Raw
	told := r.message.id == fact && r.message.text
	if same && (text == "" || told) {
		return nil
	}
	r.message.id, r.message.usage, r.message.text = strings.Clone(fact), strings.Clone(a.usage.Raw), told || text != ""

	r.made.Made(fact, l.scene.Session)
	l.scene.Request = l.requestId
	e := r.maker.Event(&l.scene, schemas.KindModelRequest)
	e.Success = schemas.SomeBool(true)
	b := &e.Body.Model
	b.Model, b.ModelRequested, b.MessageId = a.model.Str, l.requested, message
	b.StopReason = claudecode.Code(a.stop)
	if l.requestRef != "" && l.requestRef == r.request.ref {
		b.QuerySource = r.request.source
	}
	tokens(b, a.usage)
	b.OutputPartial = b.StopReason == "" || !after(l.scene.Version, 2, 1, 39)
	if !told {
		b.TextHash, b.TextLength = claudecode.Hash(text)
	}
	if err := r.maker.Emit(fact); err != nil {
		return err
	}
	return r.subRequests(l, a, fact, message)
}

// subRequests are what a message's usage lists beside its own: calls of an
// advisor, at another model's price, and compactions by the server. The usage
// itself does not hold them, and each was billed (trap 3.6 of DESIGN §6's
// background; the vendor's pages on both tools).
func (r *reader) subRequests(l *line, a *answer, fact, message string) (err error) {
	n := 0
	a.usage.Get("iterations").ForEach(func(_, iteration gjson.Result) bool {
		var source string
		switch iteration.Get("type").Str {
		case "advisor_message":
			source = "advisor"
		case "compaction":
			source = "compaction"
		default:
			return true
		}
		n++
		if n > maxIterations {
			return false
		}
		id := fmt.Sprintf("%s/%s/%d", fact, source, n)
		e := r.maker.Event(&l.scene, schemas.KindModelRequest)
		e.Success = schemas.SomeBool(true)
		b := &e.Body.Model
		if source == "compaction" { // by the same model, served alike
			tokens(b, a.usage)
			*b = schemas.ModelBody{Speed: b.Speed, ServiceTier: b.ServiceTier, InferenceGeo: b.InferenceGeo}
		}
		tokens(b, iteration)
		b.Model, b.QuerySource = cmp.Or(iteration.Get("model").Str, a.model.Str), source
		if message != "" {
			b.MessageId = fmt.Sprintf("%s/%s/%d", message, source, n)
		}
		err = r.maker.Emit(id)
		return err == nil
	})
	return err
}

// maxIterations is the most sub-requests of one message that are taken.
const maxIterations = 100

// tokens reads a usage block. The classes do not overlap, but for what is written
// to a cache: that counts by lifetime, and where the block does not split all of
// it (contract §3.3) as a whole, too.
func tokens(b *schemas.ModelBody, usage gjson.Result) {
	var cache, server gjson.Result
	usage.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "input_tokens":
			b.TokenInput = claudecode.Count(v)
		case "output_tokens":
			b.TokenOutput = claudecode.Count(v)
		case "output_tokens_details":
			b.TokenThinking = claudecode.Count(v.Get("thinking_tokens"))
		case "cache_read_input_tokens":
			b.TokenCacheRead = claudecode.Count(v)
		case "cache_creation_input_tokens":
			b.TokenCacheWrite = claudecode.Count(v)
		case "cache_creation":
			cache = v
		case "server_tool_use":
			server = v
		case "service_tier":
			b.ServiceTier = v.Str
		case "speed":
			b.Speed = v.Str
		case "inference_geo":
			b.InferenceGeo = v.Str
		}
		return true
	})
	b.TokenCacheWrite5m = claudecode.Count(cache.Get("ephemeral_5m_input_tokens"))
	b.TokenCacheWrite1h = claudecode.Count(cache.Get("ephemeral_1h_input_tokens"))
	if b.TokenCacheWrite5m.Value+b.TokenCacheWrite1h.Value >= b.TokenCacheWrite.Value && (b.TokenCacheWrite5m.Valid || b.TokenCacheWrite1h.Valid) {
		b.TokenCacheWrite = schemas.OptLong{}
	}
	b.WebSearches = claudecode.Count(server.Get("web_search_requests"))
	b.WebFetches = claudecode.Count(server.Get("web_fetch_requests"))
}

// after tells whether a version is later than another. One that is missing or
// of another form is not.
func after(version string, than ...int) bool {
	version, _, _ = strings.Cut(version, "-")
	for _, want := range than {
		part, rest, _ := strings.Cut(version, ".")
		have, err := strconv.Atoi(part)
		if err != nil || have != want {
			return err == nil && have > want
		}
		version = rest
	}
	return false
}

// retry is a request that failed and is sent again.
func (r *reader) retry(l *line) error {
	request, err := claudecode.ID(l.err.Get("requestId"), "error.requestId")
	if err != nil {
		return err
	}
	if l.uuid == "" {
		return nil
	}
	l.scene.Request = request
	e := r.maker.Event(&l.scene, schemas.KindModelRetry)
	e.Success = schemas.SomeBool(false)
	b := &e.Body.Model
	b.StatusCode = claudecode.Count(l.err.Get("status"))
	b.Attempt = claudecode.Count(l.attempt)
	b.WaitMs = claudecode.Count(l.wait)
	e.ErrorClass = class(b.StatusCode)
	return r.maker.Emit(l.uuid)
}

// class is the class of a failed request in the words of StopFailure (contract
// §2.3) by its status; without one the connection failed.
func class(status schemas.OptLong) string {
	switch {
	case !status.Valid:
		return "connection_error"
	case status.Value == 429:
		return "rate_limit"
	case status.Value == 529:
		return "overloaded"
	case status.Value == 401 || status.Value == 403:
		return "authentication_failed"
	case status.Value >= 500:
		return "server_error"
	}
	return "invalid_request"
}

// gaveUp is the line that the client writes when it gives a request up: the
// turn ends with it, as StopFailure tells.
func (r *reader) gaveUp(l *line) error {
	class := cmp.Or(claudecode.Code(l.err), "unknown")
	l.scene.Request = l.requestId
	e := r.maker.Event(&l.scene, schemas.KindModelError)
	e.Success = schemas.SomeBool(false)
	e.ErrorClass = class
	e.Body.Model.StatusCode = claudecode.Count(l.status)
	if err := r.maker.Emit(l.scene.Prompt); err != nil {
		return err
	}
	l.scene.Request = ""
	return r.turnFailed(l, class, claudecode.Text(l.message.Get("content")))
}
